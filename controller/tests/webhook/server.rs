//! A running webhook, and clients of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use decant_controller::certificates::signer::{Leaf, Signer, Usage};
use decant_controller::token::key::TokenKey;
use decant_controller::webhook::callers::Callers;
use decant_controller::webhook::serve::{Webhook, WebhookIdentity, WebhookSettings};
use decant_controller_test_support::cluster::Empty;
use decant_shared::net::conn::{Conn, ConnError};
use decant_shared::net::tls::{client, pem};
use decant_shared::process::stop::Stop;
use rustls::pki_types::ServerName;
use time::OffsetDateTime;

pub(crate) const SERVICE: &str = "cdi-api.decant-system.svc";
/// Far above what anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LEAF_LIFE: Duration = Duration::from_secs(3600);

/// A webhook on an address of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    authority: Signer,
    webhook: Option<Webhook>,
    stop: Stop,
}

impl Running {
    pub(crate) fn start(callers: Option<Callers>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Signer::new("webhook", OffsetDateTime::now_utc()).unwrap();
        let leaf = leaf(&authority, SERVICE, Usage::Server);
        let identity = WebhookIdentity {
            chain_pem: leaf.chain_pem,
            key_pem: leaf.key_pem,
            ca_pem: authority.bundle_pem.clone(),
        };
        let settings = WebhookSettings {
            cluster: Arc::new(Empty),
            keys: Arc::new(TokenKey::new(&[7; 32])),
            own_user: "system:serviceaccount:decant-system:decant-controller".to_owned(),
            claim_adoption: false,
            identity: Box::new(move || Ok(identity.clone())),
            callers,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let webhook = Webhook::start(settings, listener, stop.clone()).unwrap();
        Self { address, authority, webhook: Some(webhook), stop }
    }

    /// A connection to it that shows `leaf`, after the handshake.
    pub(crate) fn connect(&self, leaf: &Leaf) -> Result<Conn, ConnError> {
        let roots = pem::authorities(self.authority.bundle_pem.as_bytes(), "webhook").unwrap();
        let identity =
            pem::identity(leaf.chain_pem.as_bytes(), "chain", leaf.key_pem.as_bytes(), "key").unwrap();
        let config = client::config(roots, identity).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        let mut conn = Conn::client(socket, config, ServerName::try_from(SERVICE).unwrap(), Stop::new())?;
        conn.handshake(PATIENCE)?;
        Ok(conn)
    }

    /// Its answer to `body`, with the head.
    pub(crate) fn post(&self, leaf: &Leaf, path: &str, body: &[u8]) -> Result<String, ConnError> {
        let mut conn = self.connect(leaf)?;
        conn.write_all(head(path, body.len()).as_bytes(), PATIENCE, "head")?;
        conn.write_all(body, PATIENCE, "body")?;
        answer(&mut conn)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(webhook) = self.webhook.take() {
            webhook.shut_down(Duration::from_secs(1));
        }
    }
}

pub(crate) fn head(path: &str, len: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {SERVICE}\r\nContent-Length: {len}\r\n\r\n")
}

/// Everything until the server closes.
pub(crate) fn answer(conn: &mut Conn) -> Result<String, ConnError> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        match conn.read(&mut part, PATIENCE, "answer") {
            Ok(0) => return Ok(String::from_utf8(text).unwrap()),
            Ok(len) => text.extend_from_slice(&part[..len]),
            Err(fault) if text.is_empty() => return Err(fault),
            Err(_) => return Ok(String::from_utf8(text).unwrap()),
        }
    }
}

pub(crate) fn leaf(authority: &Signer, name: &str, usage: Usage) -> Leaf {
    authority.issue(name, &[name.to_owned()], usage, LEAF_LIFE, OffsetDateTime::now_utc()).unwrap()
}

/// A client with a certificate of an unknown authority.
pub(crate) fn stranger() -> Leaf {
    leaf(&Signer::new("stranger", OffsetDateTime::now_utc()).unwrap(), "kube-apiserver", Usage::Client)
}

/// A review of a new DataVolume with `storage` as its storage.
pub(crate) fn review(storage: &str) -> Vec<u8> {
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","operation":"CREATE",
"namespace":"b","userInfo":{{"username":"jane"}},"object":{{"metadata":{{"name":"x"}},"spec":{{"source":{{"pvc":{{
"namespace":"b","name":"g"}}}},"storage":{storage}}}}}}}}}"#
    )
    .into_bytes()
}
