//! Certificates of clones: two authorities in Secrets of the controller's namespace (contract 3.9), and the leaves
//! that they issue.

use std::sync::RwLock;
use std::time::Duration;

use rustls::RootCertStore;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api::cluster::{ApiError, Cluster};
use crate::certificates::signer::{Leaf, Signer, Usage};
use crate::objects::{Key, Kind, Secret, decode};

/// Signs targets and metrics pages.
pub const SERVER_SECRET: &str = "cdi-uploadserver-signer";
/// Signs sources.
pub const CLIENT_SECRET: &str = "cdi-uploadserver-client-signer";
/// Tries to agree with another replica that makes the same Secret at the same time.
const TRIES: usize = 5;

/// Both authorities, as they are now.
pub struct Pki {
    signers: RwLock<(Signer, Signer)>,
}

impl Pki {
    /// Reads both authorities, makes those that are missing, and renews those past half of their life.
    pub fn open(cluster: &dyn Cluster, namespace: &str, now: OffsetDateTime) -> Result<Self, String> {
        let signers = load_both(cluster, namespace, now)?;
        Ok(Self { signers: RwLock::new(signers) })
    }

    /// Like [`Pki::open`], again: to be called from time to time.
    pub fn refresh(&self, cluster: &dyn Cluster, namespace: &str, now: OffsetDateTime) -> Result<(), String> {
        let signers = load_both(cluster, namespace, now)?;
        *self.signers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = signers;
        Ok(())
    }

    /// Which authorities sign now, in short.
    pub fn authority(&self) -> String {
        self.with(|server, client| format!("{}-{}", server.id(), client.id()))
    }

    /// Until when each authority lives: that of targets and pages, and that of sources.
    pub fn ends(&self) -> [(&'static str, OffsetDateTime); 2] {
        self.with(|server, client| [("server", server.not_after()), ("client", client.not_after())])
    }

    /// What a source has to trust.
    pub fn server_bundle_pem(&self) -> String {
        self.with(|server, _| server.bundle_pem.clone())
    }

    /// What a target has to trust.
    pub fn client_bundle_pem(&self) -> String {
        self.with(|_, client| client.bundle_pem.clone())
    }

    /// What the controller has to trust when it scrapes.
    pub fn metrics_roots(&self) -> Result<RootCertStore, String> {
        let pem = self.server_bundle_pem();
        decant_shared::net::tls::pem::authorities(pem.as_bytes(), SERVER_SECRET).map_err(|e| e.to_string())
    }

    /// A server's certificate for `names` that lives for `life`.
    pub fn server_leaf(&self, names: &[String], life: Duration, now: OffsetDateTime) -> Result<Leaf, String> {
        let name = names.first().map_or("", String::as_str);
        self.with(|server, _| server.issue(name, names, Usage::Server, life, now))
    }

    /// A source's certificate for the common name `name` that lives for `life`.
    pub fn client_leaf(&self, name: &str, life: Duration, now: OffsetDateTime) -> Result<Leaf, String> {
        self.with(|_, client| client.issue(name, &[], Usage::Client, life, now))
    }

    fn with<T>(&self, work: impl FnOnce(&Signer, &Signer) -> T) -> T {
        let signers = self.signers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&signers.0, &signers.1)
    }
}

fn load_both(
    cluster: &dyn Cluster,
    namespace: &str,
    now: OffsetDateTime,
) -> Result<(Signer, Signer), String> {
    Ok((load(cluster, namespace, SERVER_SECRET, now)?, load(cluster, namespace, CLIENT_SECRET, now)?))
}

/// The authority in the Secret `name`. Whoever writes first wins; everybody else reads what was written.
pub(crate) fn load(
    cluster: &dyn Cluster,
    namespace: &str,
    name: &str,
    now: OffsetDateTime,
) -> Result<Signer, String> {
    let key = Key::new(namespace, name);
    let failed = |e: &ApiError| format!("Secret {key}: {e}");
    for _ in 0..TRIES {
        let written = match cluster.get(Kind::Secret, &key) {
            Ok(object) => {
                let secret: Secret =
                    decode(&object).map_err(|e| format!("Secret {key} cannot be read: {e}"))?;
                let old = Signer::read(&secret)
                    .map_err(|e| format!("Secret {key} is unusable, delete it to have it made anew: {e}"))?;
                if !old.is_due(now) {
                    return Ok(old);
                }
                // Replaced, not patched: the right to patch Secrets would be one to read them.
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
    Err(format!("Secret {key} changes all the time"))
}

/// The certificates of the authority in the Secret `name`, as PEM. Nothing is made or renewed.
pub(crate) fn bundle(cluster: &dyn Cluster, namespace: &str, name: &str) -> Result<String, String> {
    let key = Key::new(namespace, name);
    let object = cluster.get(Kind::Secret, &key).map_err(|e| format!("Secret {key}: {e}"))?;
    Signer::of(&object)
        .map(|signer| signer.bundle_pem)
        .map_err(|e| format!("Secret {key} is unusable, delete it to have it made anew: {e}"))
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
