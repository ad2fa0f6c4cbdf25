//! What a server proves itself with, and what it knows its clients by, both replaceable while it runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use super::suites::{Suites, Versions};
use super::{Identity, Unusable, shared_provider};

/// Holds the certificate of a server. New connections get the last one, open ones keep theirs.
pub struct Renewable(Mutex<Arc<CertifiedKey>>);

impl Renewable {
    /// Begins with `identity`.
    pub fn new(identity: Identity) -> Result<Arc<Self>, Unusable> {
        Ok(Arc::new(Self(Mutex::new(certified(identity)?))))
    }

    /// Goes on with `identity`. When it is of no use, the one before stays.
    pub fn replace(&self, identity: Identity) -> Result<(), Unusable> {
        let next = certified(identity)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// A configuration for any client, like [`super::server::config_for_anyone`].
    pub fn config_for_anyone(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Unusable> {
        let config = ServerConfig::builder_with_provider(Suites::default().into_provider())
            .with_protocol_versions(Versions::default().as_slice())
            .map_err(|e| Unusable(e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }

    /// A configuration for clients that `clients` knows: the handshake with any other fails.
    pub fn config_for_clients(
        self: &Arc<Self>,
        clients: &Arc<RenewableClients>,
    ) -> Result<Arc<ServerConfig>, Unusable> {
        let config = ServerConfig::builder_with_provider(Suites::default().into_provider())
            .with_protocol_versions(Versions::default().as_slice())
            .map_err(|e| Unusable(e.to_string()))?
            .with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }
}

/// Knows clients by authorities. New connections are checked with the last ones.
pub struct RenewableClients(Mutex<Arc<dyn ClientCertVerifier>>);

impl RenewableClients {
    /// Begins with `authorities`.
    pub fn new(authorities: RootCertStore) -> Result<Arc<Self>, Unusable> {
        Ok(Arc::new(Self(Mutex::new(verifier(authorities)?))))
    }

    /// Goes on with `authorities`. When they are of no use, those before stay.
    pub fn replace(&self, authorities: RootCertStore) -> Result<(), Unusable> {
        let next = verifier(authorities)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn now(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// rustls' own verifier does all the checks; this only chooses which one.
impl ClientCertVerifier for RenewableClients {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// No hints: what is lent here would have to outlive a change. Clients then send the certificate that they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.now().verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().supported_verify_schemes()
    }
}

impl fmt::Debug for RenewableClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewableClients")
    }
}

fn verifier(authorities: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let provider = Suites::default().into_provider();
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|e| Unusable(format!("the authorities of clients cannot be used: {e}")))
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewable")
    }
}

fn certified(identity: Identity) -> Result<Arc<CertifiedKey>, Unusable> {
    CertifiedKey::from_der(identity.chain, identity.key, &shared_provider())
        .map(Arc::new)
        .map_err(|e| Unusable(format!("the server certificate and its key cannot be used: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::authority::{Authority, Usage};

    #[test]
    fn a_certificate_with_another_ones_key_does_not_take_its_place() {
        let authority = Authority::new("test", 1).unwrap();
        let issue = || authority.issue("server", &["localhost"], Usage::Server, 1).unwrap();
        let (first, second) = (issue(), issue());
        let renewable = Renewable::new(first.clone()).unwrap();
        let mixed = Identity { chain: second.chain, key: first.key.clone_key() };
        assert!(renewable.replace(mixed).is_err());
        assert_eq!(renewable.0.lock().unwrap().cert, first.chain);
    }

    #[test]
    fn no_authorities_do_not_take_the_place_of_some() {
        assert!(RenewableClients::new(RootCertStore::empty()).is_err());
        let clients = RenewableClients::new(Authority::new("test", 1).unwrap().roots().unwrap()).unwrap();
        let before = clients.now();
        assert!(clients.replace(RootCertStore::empty()).is_err());
        assert!(Arc::ptr_eq(&before, &clients.now()));
    }
}
