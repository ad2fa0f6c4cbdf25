//! The client side: trusts only the given authorities, always offers its certificate.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::suites::Versions;
use super::{Identity, Unusable, shared_provider};

/// A configuration for the upload (contract 1.8): TLS 1.2 or 1.3, `roots` and nothing else, the normal
/// host-name check, `identity` offered to every server that asks. No session resumption: one connection is
/// all there is.
pub fn config(roots: RootCertStore, identity: Identity) -> Result<Arc<ClientConfig>, Unusable> {
    let mut config = ClientConfig::builder_with_provider(shared_provider())
        .with_protocol_versions(Versions::default().as_slice())
        .map_err(|e| Unusable(e.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain, identity.key)
        .map_err(|e| Unusable(format!("the client certificate and its key cannot be used: {e}")))?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
