//! A sender under the control of the test: any bytes, truncated anywhere, or nothing at all.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use decant_test_support::HANG;
use decant_test_support::certificates::{Ca, Identity};
use rustix::net::sockopt::set_socket_linger;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedCipherSuite,
};

/// The certificate of a client, and its TLS settings.
pub(crate) struct ClientIdentity {
    roots: RootCertStore,
    identity: Option<Identity>,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
}

impl ClientIdentity {
    /// A client without a certificate that trusts servers of `ca`.
    pub(crate) fn trusting(ca: &Ca) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        Self {
            roots,
            identity: None,
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            suites: rustls::crypto::ring::ALL_CIPHER_SUITES.to_vec(),
        }
    }

    pub(crate) fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    pub(crate) fn with_version(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(crate) fn with_suite(mut self, suite: SupportedCipherSuite) -> Self {
        self.suites = vec![suite];
        self
    }

    /// Connections of one configuration share their session tickets.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.clone_from(&self.suites);
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        Arc::new(match &self.identity {
            Some(identity) => {
                config.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        })
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// Reads an answer out of what a server sent; `None` if it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Self { status, body: body.to_owned() })
    }
}

/// A TLS connection to a target.
pub(crate) struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Connects and completes the handshake. (In TLS 1.3 the client's part of it ends before the server has
    /// looked at the client's certificate.)
    pub(crate) fn connect(port: u16, client_identity: &ClientIdentity) -> io::Result<Self> {
        Self::connect_by(port, client_identity.config())
    }

    /// The same with a configuration that other connections may have used.
    pub(crate) fn connect_by(port: u16, config: Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(HANG))?;
        socket.set_write_timeout(Some(HANG))?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Self(StreamOwned::new(tls, socket)))
    }

    /// Whether the session was new or resumed.
    pub(crate) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.0.conn.handshake_kind()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Sends until the server closes, which it may do once it has answered.
    pub(crate) fn send_as_far_as_it_goes(&mut self, bytes: &[u8]) {
        let _ = self.send(bytes);
    }

    /// Reads everything until the server closes.
    pub(crate) fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        match self.0.read_to_end(&mut received) {
            // It closed without close_notify: the bytes read so far are its answer.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
            result => drop(result?),
        }
        Ok(received)
    }

    /// The server's answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let received = self.read_to_close().unwrap();
        Answer::parse(&received)
            .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&received)))
    }

    /// Reads until the server has sent exactly this.
    pub(crate) fn expect(&mut self, text: &str) {
        let mut received = vec![0; text.len()];
        self.0.read_exact(&mut received).unwrap();
        assert_eq!(String::from_utf8_lossy(&received), text);
    }

    /// Sends close_notify and keeps reading.
    pub(crate) fn finish_sending(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        self.0.sock.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection, as a machine that was rebooted does.
    pub(crate) fn reset(self) {
        set_socket_linger(&self.0.sock, Some(Duration::ZERO)).unwrap();
    }
}

/// The answer of a server on a connection without TLS.
pub(crate) fn plain(port: u16, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket.write_all(request).unwrap();
    let mut received = Vec::new();
    // A server that resets has already answered.
    let _ = socket.read_to_end(&mut received);
    received
}
