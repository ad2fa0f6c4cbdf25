//! The client configuration: trusts only the given authorities, always offers its certificate.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::suites::TlsVersions;
use super::{Identity, TlsConfigError, shared_provider};

/// The configuration for an upload (docs/protocol.md section 1.8): TLS 1.2 or 1.3, only `roots` are trusted, the normal
/// host-name check, `identity` is offered to every server that asks. No session resumption: each connection is a new session.
pub fn config(roots: RootCertStore, identity: Identity) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let mut config = ClientConfig::builder_with_provider(shared_provider())
        .with_protocol_versions(TlsVersions::default().as_slice())
        .map_err(|e| TlsConfigError(e.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain, identity.key)
        .map_err(|e| TlsConfigError(format!("cannot use the client certificate and its key: {e}")))?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
