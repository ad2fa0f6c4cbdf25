//! The server side: the target's upload server and the source's metrics server.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::suites::{Suites, Versions};
use super::{Identity, Unusable};

/// A configuration that asks clients for a certificate but lets them go without (so that kubelet can probe):
/// a certificate that is offered must be signed by `client_roots`, else the handshake fails (contract 2.5).
///
/// The names of the authorities are not sent: TLS has room for 64 KiB of them, and there may be more. Clients then send
/// the certificate that they have.
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
        .clear_root_hint_subjects()
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

#[cfg(test)]
mod tests {
    use rustls::pki_types::{Der, TrustAnchor};
    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    use super::*;
    use crate::net::tls::authority::{Authority, Usage};

    /// Two names of this length do not fit into one request for a certificate, which has room for 64 KiB.
    const NAME_BYTES: usize = 40_000;

    #[test]
    fn authorities_with_more_names_than_tls_has_room_for_do_not_stop_a_handshake() {
        let authority = Authority::new("test", 1).unwrap();
        let mut roots = authority.roots().unwrap();
        let anchor: TrustAnchor<'static> = roots.roots[0].clone();
        for _ in 0..2 {
            roots.roots.push(TrustAnchor { subject: Der::from(vec![0; NAME_BYTES]), ..anchor.clone() });
        }
        let issue = |usage| authority.issue("localhost", &["localhost"], usage, 1).unwrap();
        let server =
            config_asking_clients(issue(Usage::Server), roots, Versions::default(), Suites::default());
        let mut server = ServerConnection::new(server.unwrap()).unwrap();
        let (trusted, own) = (authority.roots().unwrap(), issue(Usage::Client));
        let client = ClientConfig::builder_with_provider(Suites::default().into_provider())
            .with_protocol_versions(Versions::default().as_slice())
            .unwrap()
            .with_root_certificates(trusted)
            .with_client_auth_cert(own.chain, own.key)
            .unwrap();
        let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut wire = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.split_off(0).as_slice()).unwrap();
            server.process_new_packets().unwrap();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.split_off(0).as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        assert!(server.peer_certificates().is_some());
    }
}
