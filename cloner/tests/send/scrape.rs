//! Reading the metrics page as a controller does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use decant_test_support::{HANG, wait::found};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::process::OWNER_UID;

/// A scraper that, like CDI's controllers, does not verify the server.
pub(crate) fn agent() -> Agent {
    agent_with(TlsConfig::builder().disable_verification(true))
}

pub(crate) fn agent_with(tls: ureq::tls::TlsConfigBuilder) -> Agent {
    let tls = tls.unversioned_rustls_crypto_provider(Arc::new(default_provider())).build();
    let config = Agent::config_builder().tls_config(tls).proxy(None).http_status_as_error(false);
    config.timeout_global(Some(HANG)).build().into()
}

/// The page.
pub(crate) fn page(port: u16) -> String {
    try_page(port).unwrap()
}

/// The page, or why there was no answer.
pub(crate) fn try_page(port: u16) -> Result<String, ureq::Error> {
    let mut answer = agent().get(format!("https://127.0.0.1:{port}/metrics")).call()?;
    assert_eq!(answer.status(), 200);
    answer.body_mut().read_to_string()
}

/// The page as soon as it is as wanted: it changes once a second.
pub(crate) fn page_when(port: u16, is_wanted: impl Fn(&str) -> bool) -> String {
    found("a page as wanted", || Some(page(port)).filter(|page| is_wanted(page)))
}

/// Every sample of a page: the text before and after the space.
pub(crate) fn samples(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap()).collect()
}

/// The percentage, which must be the same under both names; `None` before there is one.
pub(crate) fn known_percent(page: &str) -> Option<String> {
    let samples = samples(page);
    let value = |name: &str| samples.get(format!("{name}{{ownerUID=\"{OWNER_UID}\"}}").as_str()).copied();
    assert_eq!(value("clone_progress"), value("kubevirt_cdi_clone_progress_total"));
    value("clone_progress").map(str::to_owned)
}

/// The same where there must be one.
pub(crate) fn percent(page: &str) -> String {
    known_percent(page).unwrap()
}

/// A connection to the page on which the request can be written bit by bit; the handshake is done.
pub(crate) fn slow_scraper(port: u16) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate))
        .with_no_client_auth();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream
}

/// Writes `request`, and reads what comes until the server closes.
pub(crate) fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Takes any certificate.
#[derive(Debug)]
struct AcceptAnyCertificate;

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
