//! A cluster that refuses writes, and an executor for it.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::certificates::pki::Pki;
use decant_controller::cluster_settings::LivePolicy;
use decant_controller::objects::{Key, Kind, Object, Pod, Uid};
use decant_controller::pods::identity::PodIdentity;
use decant_controller::pods::made::MadePods;
use decant_controller::pods::role::Role;
use decant_controller::policy::Policy;
use decant_controller::reconcile::act::Executor;
use decant_controller::reconcile::scheduling::CloneScheduler;
use decant_controller::token::key::TokenKey;
use serde_json::{Value, json};
use time::OffsetDateTime;

static PKI: LazyLock<Arc<Pki>> = LazyLock::new(|| {
    Arc::new(Pki::open(&RefusingCluster::default(), "decant", OffsetDateTime::now_utc()).unwrap())
});

/// A write: its verb, the kind, and the namespace.
pub(crate) type Write = (&'static str, Kind, String);

pub(crate) type Refuse = Box<dyn Fn(&Write) -> Option<ApiError> + Send + Sync>;

/// Has one claim, accepts writes, and refuses those that the test chooses.
#[derive(Default)]
pub(crate) struct RefusingCluster {
    pub(crate) refuse: Option<Refuse>,
    pub(crate) claim: Value,
    /// Whether each Secret is there already.
    pub(crate) has_secrets: bool,
    pub(crate) done: Mutex<Vec<Write>>,
}

impl RefusingCluster {
    pub(crate) fn refusing(refuse: impl Fn(&Write) -> Option<ApiError> + Send + Sync + 'static) -> Self {
        Self { refuse: Some(Box::new(refuse)), ..Self::default() }
    }

    fn write(&self, verb: &'static str, kind: Kind, namespace: &str) -> Result<(), ApiError> {
        let write = (verb, kind, namespace.to_owned());
        match self.refuse.as_ref().and_then(|refuse| refuse(&write)) {
            Some(error) => Err(error),
            None => {
                self.done.lock().unwrap().push(write);
                Ok(())
            }
        }
    }
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

impl Cluster for RefusingCluster {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        if kind == Kind::PersistentVolumeClaim && !self.claim.is_null() {
            return Ok(self.claim.clone().into());
        }
        Err(ApiError { code: 404, reason: "NotFound".to_owned(), message: format!("{key} is not there") })
    }

    fn list(&self, _: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        Ok(ListPage::default())
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(ApiError { code: 410, reason: "Expired".to_owned(), message: String::new() })
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.write("create", kind, namespace(object))?;
        if kind == Kind::Secret && self.has_secrets {
            let message = "secrets already exists".to_owned();
            return Err(ApiError { code: 409, reason: "AlreadyExists".to_owned(), message });
        }
        let mut made = object.clone();
        made["metadata"]["uid"] = "made-uid".into();
        Ok(made.into())
    }

    fn patch(&self, kind: Kind, key: &Key, _: Part, patch: &Value) -> Result<Object, ApiError> {
        self.write("patch", kind, &key.namespace)?;
        Ok(patch.clone().into())
    }

    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        self.write("replace", kind, &key.namespace)?;
        Ok(object.clone().into())
    }

    fn delete(&self, kind: Kind, key: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        self.write("delete", kind, &key.namespace)
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(ApiError { code: 503, reason: String::new(), message: String::new() })
    }
}

fn seal() -> TokenKey {
    TokenKey::new(&[7; 32])
}

pub(crate) fn executor(cluster: &Arc<RefusingCluster>) -> Executor {
    let cluster: Arc<dyn Cluster> = cluster.clone();
    Executor::new(
        cluster,
        PKI.clone(),
        Arc::new(LivePolicy::new(Policy::default())),
        Arc::new(seal()),
        Arc::new(MadePods::default()),
        Arc::new(CloneScheduler::new(Policy::default().scheduling)),
    )
}

/// `pod` with the identity that the controller gives to its own.
pub(crate) fn with_identity(pod: &Arc<Pod>, role: Role) -> Arc<Pod> {
    let mut pod = (**pod).clone();
    let identity = PodIdentity {
        role,
        pod: pod.metadata.key(),
        clone: Key::new("n", "copy"),
        target_claim: Uid::from("copy-uid"),
        source_claim: Uid::from("golden-uid"),
        target_pod: (role == Role::Source).then(|| Uid::from("target-uid")),
        authority: "1".to_owned(),
        keys: "keys".to_owned(),
    };
    pod.metadata.labels.insert("cdi.kubevirt.io".to_owned(), role.container().to_owned());
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    pod.metadata
        .annotations
        .extend(identity.annotations(&seal()).into_iter().map(|(name, value)| (name, text(value))));
    Arc::new(pod)
}

/// The claim as the API server has it.
pub(crate) fn claim_object() -> Value {
    json!({ "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "resourceVersion": "5" } })
}
