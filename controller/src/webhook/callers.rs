//! The clients that the webhook answers: with a client authority, only the API server, which authenticates with a
//! certificate.

use std::path::PathBuf;

use decant_shared::net::tls::{TlsConfigError, common_name, pem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The API server, authenticated by its certificate.
    Proven,
    /// Any client that can reach the webhook. A token for it counts only where the API server is known to send each
    /// DataVolume to the webhook.
    Unknown,
}

impl Caller {
    /// Whether it is the authenticated API server.
    pub fn is_proven(self) -> bool {
        self == Caller::Proven
    }
}

/// How the API server authenticates.
#[derive(Debug, Clone)]
pub struct Callers {
    /// File with the authorities, as PEM, of the API server's client certificate.
    pub authorities: PathBuf,
    /// Accepted common names; if empty, every certificate of these authorities is accepted.
    pub names: Vec<String>,
}

impl Callers {
    /// The current content of the file with the authorities.
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsConfigError> {
        pem::read_file(&self.authorities)
    }

    /// The authorities in `text`.
    pub(super) fn roots(&self, text: &[u8]) -> Result<RootCertStore, TlsConfigError> {
        pem::authorities(text, &self.authorities.display().to_string())
    }

    /// Whether the client with the verified certificate `leaf` is accepted; the error is the reason why not.
    pub(super) fn accept(&self, leaf: Option<&CertificateDer<'_>>) -> Result<(), String> {
        let Some(leaf) = leaf else { return Err("it has no certificate".to_owned()) };
        if self.names.is_empty() {
            return Ok(());
        }
        let name = common_name::common_name(leaf).map_err(|e| e.to_string())?;
        if self.names.contains(&name) { Ok(()) } else { Err(format!("its common name is {name}")) }
    }
}
