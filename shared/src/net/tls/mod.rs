//! TLS for both ends: only what was configured is trusted, nothing comes from the system.
//!
//! * [`pem`] reads certificates and keys, the only file that knows about PEM;
//! * [`authority`] issues throw-away certificates;
//! * [`client`] and [`server`] build the two rustls configurations, [`renewable`] one whose certificate changes;
//! * [`places`] says where keys are, first and renewed; [`generations`] decides which of them count; [`current`] keeps a
//!   configuration that follows them;
//! * [`validity`] reads the end of a certificate;
//! * [`suites`] maps CDI's cipher and version names to what rustls has;
//! * [`name`] reads the common name out of a client's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

pub mod authority;
pub mod client;
pub mod current;
mod der;
pub mod generations;
pub mod name;
pub mod pem;
pub mod places;
pub mod renewable;
pub mod server;
pub mod suites;
pub mod validity;

/// A certificate, key or TLS setting that cannot be used; the text names it and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(pub String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// A certificate chain (leaf first) and its private key.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first, then what leads to the authority.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// The leaf's key.
    pub key: rustls::pki_types::PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Where the cryptography comes from: ring, with AES-128-GCM first. A server of ours follows the client's
/// order, and 128 bits cost a fifth less CPU per byte than 256 where the processor has AES instructions.
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

/// [`provider`] behind the reference count that rustls wants.
pub(crate) fn shared_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}
