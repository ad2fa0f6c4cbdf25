//! A server's certificate that can be replaced while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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
    use crate::tls::authority::{Authority, Usage};

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
}
