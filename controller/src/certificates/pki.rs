//! Certificates of clones: two authorities in Secrets in the namespace of the controller (docs/protocol.md section
//! 3.9), and their leaves.

use std::sync::RwLock;
use std::time::Duration;

use rustls::RootCertStore;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api::cluster::{ApiError, Cluster};
use crate::certificates::signer::{Leaf, Signer, Usage};
use crate::objects::{Key, Kind, Secret, decode};

/// The authority of targets and metrics pages.
pub const SERVER_SECRET: &str = "cdi-uploadserver-signer";
/// The authority of sources.
pub const CLIENT_SECRET: &str = "cdi-uploadserver-client-signer";
/// Attempts to create or renew a Secret that another replica changes at the same time.
const ATTEMPTS: usize = 5;

/// The current authorities.
pub struct Pki {
    signers: RwLock<Signers>,
}

struct Signers {
    server: Signer,
    client: Signer,
}

impl Pki {
    /// Reads both authorities; creates missing ones and renews those past half of their lifetime.
    pub fn open(cluster: &dyn Cluster, namespace: &str, now: OffsetDateTime) -> Result<Self, String> {
        let signers = load_both(cluster, namespace, now)?;
        Ok(Self { signers: RwLock::new(signers) })
    }

    /// Does the same as [`Pki::open`] again. Call it regularly.
    pub fn refresh(&self, cluster: &dyn Cluster, namespace: &str, now: OffsetDateTime) -> Result<(), String> {
        let signers = load_both(cluster, namespace, now)?;
        *self.signers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = signers;
        Ok(())
    }

    /// A short identifier of the current authorities.
    pub fn authority(&self) -> String {
        self.with(|server, client| format!("{}-{}", server.id(), client.id()))
    }

    /// The end of each authority: of targets and pages, and of sources.
    pub fn ends(&self) -> [(&'static str, OffsetDateTime); 2] {
        self.with(|server, client| [("server", server.not_after()), ("client", client.not_after())])
    }

    /// The bundle that sources trust.
    pub fn server_bundle_pem(&self) -> String {
        self.with(|server, _| server.bundle_pem.clone())
    }

    /// The bundle that targets trust.
    pub fn client_bundle_pem(&self) -> String {
        self.with(|_, client| client.bundle_pem.clone())
    }

    /// The authorities that the controller trusts when it scrapes.
    pub fn metrics_roots(&self) -> Result<RootCertStore, String> {
        let pem = self.server_bundle_pem();
        decant_shared::net::tls::pem::authorities(pem.as_bytes(), SERVER_SECRET).map_err(|e| e.to_string())
    }

    /// A server certificate for `names` with the lifetime `life`.
    pub fn server_leaf(&self, names: &[String], life: Duration, now: OffsetDateTime) -> Result<Leaf, String> {
        let name = names.first().map_or("", String::as_str);
        self.with(|server, _| server.issue(name, names, Usage::Server, life, now))
    }

    /// A source certificate for the common name `name` with the lifetime `life`.
    pub fn client_leaf(&self, name: &str, life: Duration, now: OffsetDateTime) -> Result<Leaf, String> {
        self.with(|_, client| client.issue(name, &[], Usage::Client, life, now))
    }

    fn with<T>(&self, work: impl FnOnce(&Signer, &Signer) -> T) -> T {
        let signers = self.signers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&signers.server, &signers.client)
    }
}

fn load_both(cluster: &dyn Cluster, namespace: &str, now: OffsetDateTime) -> Result<Signers, String> {
    Ok(Signers {
        server: load(cluster, namespace, SERVER_SECRET, now)?,
        client: load(cluster, namespace, CLIENT_SECRET, now)?,
    })
}

/// The authority in the Secret `name`. The first writer wins; the others read its Secret.
pub(crate) fn load(
    cluster: &dyn Cluster,
    namespace: &str,
    name: &str,
    now: OffsetDateTime,
) -> Result<Signer, String> {
    let key = Key::new(namespace, name);
    let failed = |e: &ApiError| format!("Secret {key}: {e}");
    for _ in 0..ATTEMPTS {
        let written = match cluster.get(Kind::Secret, &key) {
            Ok(object) => {
                let secret: Secret = decode(&object).map_err(|e| format!("cannot read Secret {key}: {e}"))?;
                let old = Signer::read(&secret)
                    .map_err(|e| format!("Secret {key} is unusable: {e}; delete it to create a new one"))?;
                if !old.is_due(now) {
                    return Ok(old);
                }
                // Replaced instead of patched: the right to patch Secrets would also allow reading them.
                let next = old.successor(&format!("{namespace}_{name}"), now)?;
                let version = secret.metadata.resource_version;
                cluster.replace(Kind::Secret, &key, &manifest(&key, &next, Some(&version)))
            }
            Err(e) if e.is_not_found() => {
                let new = Signer::new(&format!("{namespace}_{name}"), now)?;
                cluster.create(Kind::Secret, &manifest(&key, &new, None))
            }
            Err(e) => return Err(failed(&e)),
        };
        match written {
            Ok(object) => return Signer::of(&object).map_err(|e| format!("Secret {key}: {e}")),
            Err(e) if e.already_exists() || e.is_conflict() => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    Err(format!("Secret {key} keeps changing"))
}

/// The certificates of the authority in the Secret `name`, as PEM. Creates and renews nothing.
pub(crate) fn bundle(cluster: &dyn Cluster, namespace: &str, name: &str) -> Result<String, String> {
    let key = Key::new(namespace, name);
    let object = cluster.get(Kind::Secret, &key).map_err(|e| format!("Secret {key}: {e}"))?;
    Signer::of(&object)
        .map(|signer| signer.bundle_pem)
        .map_err(|e| format!("Secret {key} is unusable: {e}; delete it to create a new one"))
}

fn manifest(key: &Key, signer: &Signer, resource_version: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": key.name, "namespace": key.namespace, "resourceVersion": resource_version },
        "data": signer.data(),
    })
}
