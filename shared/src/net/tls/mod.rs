//! TLS for both ends: only configured authorities are trusted, never those of the system.
//!
//! * [`pem`] reads certificates and keys; no other file parses PEM;
//! * [`authority`] issues short-lived certificates in memory;
//! * [`client`] and [`server`] build the two rustls configurations, [`renewable`] one whose certificate can be replaced;
//! * [`key_sources`] knows where a pod's keys are, initial and renewed; [`generations`] decides which of them to use;
//!   [`reloading_config`] rebuilds a configuration when they change;
//! * [`validity`] reads the expiry time of a certificate;
//! * [`suites`] maps CDI's names of cipher suites and TLS versions to those of rustls;
//! * [`common_name`] reads the common name of a client's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

pub mod authority;
pub mod client;
pub mod common_name;
mod der;
pub mod generations;
pub mod key_sources;
pub mod pem;
pub mod reloading_config;
pub mod renewable;
pub mod server;
pub mod suites;
pub mod validity;

/// Why a certificate, a key or a TLS setting cannot be used. The text names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfigError(pub String);

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsConfigError {}

/// A certificate chain (leaf first) and its private key.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first, then the intermediates.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// The leaf's key.
    pub key: rustls::pki_types::PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The cryptography provider: ring, with AES-128-GCM first. Our servers follow the client's order, and AES-128 costs a fifth
/// less CPU per byte than AES-256 on processors with AES instructions.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let last = provider.cipher_suites.len();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => 1,
        _ => last,
    });
    provider
}

/// [`provider`] in the `Arc` that rustls requires.
pub(crate) fn shared_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}
