//! Certificates of clones: two authorities in Secrets of the controller's namespace (contract 3.9), and the leaves
//! that they issue.

mod signer;

use std::sync::RwLock;
use std::time::Duration;

use rustls::RootCertStore;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::cluster::{ApiError, Cluster, Part};
use crate::resource::{Key, Kind};
pub use signer::{Leaf, Signer, Usage};

/// Signs targets and metrics pages.
pub(crate) const SERVER_SECRET: &str = "cdi-uploadserver-signer";
/// Signs sources.
pub(crate) const CLIENT_SECRET: &str = "cdi-uploadserver-client-signer";
/// Tries to agree with another replica that makes the same Secret at the same time.
const TRIES: usize = 5;

/// Both authorities, as they are now.
pub struct Pki {
    leaf_life: Duration,
    signers: RwLock<(Signer, Signer)>,
}

impl Pki {
    /// Reads both authorities, makes those that are missing, and renews those past half of their life.
    pub fn open(
        cluster: &dyn Cluster,
        namespace: &str,
        leaf_life: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, String> {
        let signers = load_both(cluster, namespace, now)?;
        Ok(Self { leaf_life, signers: RwLock::new(signers) })
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
        decant_shared::tls::pem::authorities(pem.as_bytes(), SERVER_SECRET).map_err(|e| e.to_string())
    }

    /// A server's certificate for `names`.
    pub fn server_leaf(&self, names: &[String], now: OffsetDateTime) -> Result<Leaf, String> {
        let name = names.first().map_or("", String::as_str);
        self.with(|server, _| server.issue(name, names, Usage::Server, self.leaf_life, now))
    }

    /// A source's certificate for the common name `name`.
    pub fn client_leaf(&self, name: &str, now: OffsetDateTime) -> Result<Leaf, String> {
        self.with(|_, client| client.issue(name, &[], Usage::Client, self.leaf_life, now))
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
                let old = Signer::read(&object)
                    .map_err(|e| format!("Secret {key} is unusable, delete it to have it made anew: {e}"))?;
                if !old.is_due(now) {
                    return Ok(old);
                }
                let patch = json!({
                    "metadata": { "resourceVersion": object["metadata"]["resourceVersion"] },
                    "data": old.successor(&format!("{namespace}_{name}"), now)?.data(),
                });
                cluster.patch(Kind::Secret, &key, Part::Whole, &patch)
            }
            Err(e) if e.is_not_found() => {
                let new = Signer::new(&format!("{namespace}_{name}"), now)?;
                cluster.create(Kind::Secret, &object(&key, &new))
            }
            Err(e) => return Err(failed(&e)),
        };
        match written {
            Ok(object) => return Signer::read(&object),
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
    Signer::read(&object)
        .map(|signer| signer.bundle_pem)
        .map_err(|e| format!("Secret {key} is unusable, delete it to have it made anew: {e}"))
}

fn object(key: &Key, signer: &Signer) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": key.name, "namespace": key.namespace },
        "data": signer.data(),
    })
}
