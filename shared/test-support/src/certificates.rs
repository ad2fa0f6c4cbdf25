//! Certificates for both ends: authorities, intermediates, leaves with chosen names and lifetimes.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use time::{Duration, OffsetDateTime};

/// The common name of the sender that targets in these tests expect.
pub const SENDER: &str = "source-ns/source-pvc-target-ns/target-pvc";

/// A certificate chain and the key of its leaf.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first, then the intermediates; without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The chain in PEM format.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    /// The key in PEM format.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_der())
    }

    /// Writes `name.crt` and `name.key` into a directory.
    pub fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.crt")), self.chain_pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), self.key_pem()).unwrap();
    }
}

/// A certificate authority: a root or an intermediate.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The part of a leaf's chain after the leaf: this authority and the intermediates above it. Empty for a root.
    chain: Vec<CertificateDer<'static>>,
}

impl Ca {
    /// A new root.
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap();
        Self { issuer, chain: Vec::new() }
    }

    /// A new intermediate, signed by this authority.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca_params(name), key, &*self.issuer).unwrap();
        let chain = [vec![issuer.der().clone()], self.chain.clone()].concat();
        Self { issuer, chain }
    }

    /// A client certificate that is valid for one day.
    pub fn client(&self, name: &str) -> Identity {
        self.client_until(name, Duration::days(1))
    }

    /// A client certificate that expires after `lifetime`; a negative one has expired already.
    pub fn client_until(&self, name: &str, lifetime: Duration) -> Identity {
        self.leaf(params(name, lifetime), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate for the loopback address that is valid for one day.
    pub fn server(&self) -> Identity {
        self.server_until(Duration::days(1))
    }

    /// A server certificate for the loopback address that expires after `lifetime`.
    pub fn server_until(&self, lifetime: Duration) -> Identity {
        self.server_named(&["127.0.0.1"], lifetime)
    }

    /// A server certificate for these host names or addresses that expires after `lifetime`.
    pub fn server_named(&self, names: &[&str], lifetime: Duration) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = params("target", lifetime);
        params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        self.leaf(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The authority's certificate in PEM format.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.issuer.der())
    }

    /// The authority's certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    fn leaf(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![leaf.der().clone()], self.chain.clone()].concat();
        Identity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

/// An authority, one client with its certificate, and configurations of servers that require a client certificate of this
/// authority.
pub struct Pki {
    authority: Ca,
    /// The authority's certificate.
    pub authority_pem: String,
    /// The client's certificate.
    pub client_pem: String,
    /// The client's key.
    pub client_key_pem: String,
}

impl Pki {
    /// A new authority and its client.
    #[expect(clippy::new_without_default, reason = "it generates keys")]
    pub fn new() -> Self {
        let authority = Ca::new("test authority");
        let client = authority.client("ns/source-ns/target");
        Self {
            authority_pem: authority.pem(),
            client_pem: client.chain_pem(),
            client_key_pem: client.key_pem(),
            authority,
        }
    }

    /// A server certificate for these host names or addresses that expires after `days`.
    pub fn server_identity(&self, names: &[&str], days: i64) -> Identity {
        self.authority.server_named(names, Duration::days(days))
    }

    /// The configuration of a valid target: it has a certificate for the loopback address and requires a client certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_as(self.server_identity(&["127.0.0.1"], 1), rustls::DEFAULT_VERSIONS)
    }

    /// The configuration of a server with the certificate `identity` that requires a client certificate of this authority.
    pub fn server_as(
        &self,
        identity: Identity,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let mut clients = RootCertStore::empty();
        clients.add(self.authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider)).build();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(identity.chain, identity.key);
        Arc::new(config.unwrap())
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, Duration::days(1));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn params(name: &str, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(30);
    params.not_after = now + lifetime;
    params
}

/// `der` in PEM format.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: String = text
        .as_bytes()
        .chunks(64)
        .fold(String::new(), |lines, line| lines + std::str::from_utf8(line).unwrap() + "\n");
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
