//! The server side: the target's upload server and the source's metrics server.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::suites::{Suites, Versions};
use super::{Identity, Unusable};

/// A configuration that asks clients for a certificate but lets them go without (so that kubelet can probe):
/// a certificate that is offered must be signed by `client_roots`, else the handshake fails (contract 2.5).
///
/// Sessions are not resumed: that would skip the check of the client's certificate, and one that was valid once would be
/// good for as long as the server runs.
pub fn config_asking_clients(
    identity: Identity,
    client_roots: RootCertStore,
    versions: Versions,
    suites: Suites,
) -> Result<Arc<ServerConfig>, Unusable> {
    let provider = suites.into_provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(client_roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|e| Unusable(format!("the authorities of clients cannot be used: {e}")))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions.as_slice())
        .map_err(|e| Unusable(format!("TLS versions and ciphers do not fit together: {e}")))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| Unusable(format!("the server certificate and its key cannot be used: {e}")))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A configuration for any client (contract 1.12).
pub fn config_for_anyone(identity: Identity) -> Result<Arc<ServerConfig>, Unusable> {
    let config = ServerConfig::builder_with_provider(Suites::default().into_provider())
        .with_protocol_versions(Versions::default().as_slice())
        .map_err(|e| Unusable(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| Unusable(format!("the server certificate and its key cannot be used: {e}")))?;
    Ok(Arc::new(config))
}
