//! A server's certificate and the authorities of its clients, both replaceable while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use super::suites::{CipherSuites, TlsVersions};
use super::{Identity, TlsConfigError, shared_provider};

/// The certificate of a server. New connections use the latest one, open connections keep theirs.
pub struct RenewableCertificate(Mutex<Arc<CertifiedKey>>);

impl RenewableCertificate {
    /// Starts with `identity`.
    pub fn new(identity: Identity) -> Result<Arc<Self>, TlsConfigError> {
        Ok(Arc::new(Self(Mutex::new(certified(identity)?))))
    }

    /// Replaces the certificate with `identity`. If that cannot be used, the previous one stays.
    pub fn replace(&self, identity: Identity) -> Result<(), TlsConfigError> {
        let next = certified(identity)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// A configuration that accepts any client, like [`super::server::config_without_client_auth`].
    pub fn config_without_client_auth(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsConfigError> {
        let config = ServerConfig::builder_with_provider(CipherSuites::default().into_provider())
            .with_protocol_versions(TlsVersions::default().as_slice())
            .map_err(|e| TlsConfigError(e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }

    /// A configuration that accepts only clients whose certificates `clients` verifies.
    pub fn config_with_client_auth(
        self: &Arc<Self>,
        clients: &Arc<RenewableClientVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsConfigError> {
        let config = ServerConfig::builder_with_provider(CipherSuites::default().into_provider())
            .with_protocol_versions(TlsVersions::default().as_slice())
            .map_err(|e| TlsConfigError(e.to_string()))?
            .with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }
}

/// Verifies client certificates with a replaceable set of authorities. New connections are checked with the latest set.
pub struct RenewableClientVerifier(Mutex<Arc<dyn ClientCertVerifier>>);

impl RenewableClientVerifier {
    /// Starts with `authorities`.
    pub fn new(authorities: RootCertStore) -> Result<Arc<Self>, TlsConfigError> {
        Ok(Arc::new(Self(Mutex::new(verifier(authorities)?))))
    }

    /// Replaces the authorities. If the new ones cannot be used, the previous ones stay.
    pub fn replace(&self, authorities: RootCertStore) -> Result<(), TlsConfigError> {
        let next = verifier(authorities)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Delegates all checks to the latest verifier of rustls.
impl ClientCertVerifier for RenewableClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// No hints: the returned reference would have to outlive a replacement. Clients then send the certificate that they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current().verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

impl fmt::Debug for RenewableClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewableClientVerifier")
    }
}

fn verifier(authorities: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    let provider = CipherSuites::default().into_provider();
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|e| TlsConfigError(format!("cannot use the client authorities: {e}")))
}

impl ResolvesServerCert for RenewableCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for RenewableCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewableCertificate")
    }
}

fn certified(identity: Identity) -> Result<Arc<CertifiedKey>, TlsConfigError> {
    CertifiedKey::from_der(identity.chain, identity.key, &shared_provider())
        .map(Arc::new)
        .map_err(|e| TlsConfigError(format!("cannot use the server certificate and its key: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::authority::{Authority, Usage};

    #[test]
    fn a_certificate_with_the_wrong_key_does_not_replace_the_current_one() {
        let authority = Authority::new("test", 1).unwrap();
        let issue = || authority.issue("server", &["localhost"], Usage::Server, 1).unwrap();
        let (first, second) = (issue(), issue());
        let renewable = RenewableCertificate::new(first.clone()).unwrap();
        let mixed = Identity { chain: second.chain, key: first.key.clone_key() };
        assert!(renewable.replace(mixed).is_err());
        assert_eq!(renewable.0.lock().unwrap().cert, first.chain);
    }

    #[test]
    fn an_empty_set_of_authorities_does_not_replace_the_current_one() {
        assert!(RenewableClientVerifier::new(RootCertStore::empty()).is_err());
        let clients =
            RenewableClientVerifier::new(Authority::new("test", 1).unwrap().roots().unwrap()).unwrap();
        let previous = clients.current();
        assert!(clients.replace(RootCertStore::empty()).is_err());
        assert!(Arc::ptr_eq(&previous, &clients.current()));
    }
}
