//! The server configurations: the target's upload server and the source's metrics server.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::suites::{CipherSuites, TlsVersions};
use super::{Identity, TlsConfigError};

/// A configuration that requests a client certificate but also accepts clients without one (so that the kubelet can probe).
/// An offered certificate must be signed by `client_roots`, or the handshake fails (docs/protocol.md section 2.5).
///
/// The names of the authorities are not sent: TLS has room for 64 KiB of names, and there may be more. Clients then send the
/// certificate that they have.
///
/// Sessions are not resumed: resumption skips the check of the client's certificate, so a certificate that was valid once
/// would be accepted as long as the server runs.
pub fn config_with_optional_client_auth(
    identity: Identity,
    client_roots: RootCertStore,
    versions: TlsVersions,
    suites: CipherSuites,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let provider = suites.into_provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(client_roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .clear_root_hint_subjects()
        .build()
        .map_err(|e| TlsConfigError(format!("cannot use the client authorities: {e}")))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions.as_slice())
        .map_err(|e| TlsConfigError(format!("the TLS versions and cipher suites are incompatible: {e}")))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| TlsConfigError(format!("cannot use the server certificate and its key: {e}")))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A configuration that accepts any client (docs/protocol.md section 1.12).
pub fn config_without_client_auth(identity: Identity) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let config = ServerConfig::builder_with_provider(CipherSuites::default().into_provider())
        .with_protocol_versions(TlsVersions::default().as_slice())
        .map_err(|e| TlsConfigError(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| TlsConfigError(format!("cannot use the server certificate and its key: {e}")))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{Der, TrustAnchor};
    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    use super::*;
    use crate::net::tls::authority::{Authority, Usage};

    /// Two names of this length exceed the 64 KiB of one certificate request.
    const NAME_BYTES: usize = 40_000;

    #[test]
    fn a_handshake_succeeds_although_the_authority_names_exceed_the_tls_limit() {
        let authority = Authority::new("test", 1).unwrap();
        let mut roots = authority.roots().unwrap();
        let anchor: TrustAnchor<'static> = roots.roots[0].clone();
        for _ in 0..2 {
            roots.roots.push(TrustAnchor { subject: Der::from(vec![0; NAME_BYTES]), ..anchor.clone() });
        }
        let issue = |usage| authority.issue("localhost", &["localhost"], usage, 1).unwrap();
        let server = config_with_optional_client_auth(
            issue(Usage::Server),
            roots,
            TlsVersions::default(),
            CipherSuites::default(),
        );
        let mut server = ServerConnection::new(server.unwrap()).unwrap();
        let own = issue(Usage::Client);
        let client = ClientConfig::builder_with_provider(CipherSuites::default().into_provider())
            .with_protocol_versions(TlsVersions::default().as_slice())
            .unwrap()
            .with_root_certificates(authority.roots().unwrap())
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
