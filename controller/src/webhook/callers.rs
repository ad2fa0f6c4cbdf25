//! Who is answered: with an authority for clients only the API server, which proves itself by a certificate.

use std::path::PathBuf;

use decant_shared::net::tls::{TlsConfigError, common_name, pem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// Whose question it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The API server: it had a certificate that says so.
    Proven,
    /// Anybody who reaches the webhook. A token that he gets counts only where the API server is known to ask the webhook
    /// about each DataVolume.
    Unknown,
}

impl Caller {
    /// Whether it is known to be the API server.
    pub fn is_proven(self) -> bool {
        self == Caller::Proven
    }
}

/// How the API server proves itself.
#[derive(Debug, Clone)]
pub struct Callers {
    /// File with the authorities, as PEM, of the API server's client certificate.
    pub authorities: PathBuf,
    /// Common names that are taken; with none, every certificate of these authorities is.
    pub names: Vec<String>,
}

impl Callers {
    /// The authorities' certificates as they are in the file now.
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsConfigError> {
        pem::read_file(&self.authorities)
    }

    /// The authorities in `text`.
    pub(super) fn roots(&self, text: &[u8]) -> Result<RootCertStore, TlsConfigError> {
        pem::authorities(text, &self.authorities.display().to_string())
    }

    /// Whether the client with the verified certificate `leaf` is one of those that are taken. The error says why not.
    pub(super) fn accept(&self, leaf: Option<&CertificateDer<'_>>) -> Result<(), String> {
        let Some(leaf) = leaf else { return Err("it has no certificate".to_owned()) };
        if self.names.is_empty() {
            return Ok(());
        }
        let name = common_name::common_name(leaf).map_err(|e| e.to_string())?;
        if self.names.contains(&name) { Ok(()) } else { Err(format!("it is called {name}")) }
    }
}
