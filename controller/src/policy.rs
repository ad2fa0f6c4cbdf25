//! The settings of the operator: images, intervals, limits. They are read once from flags and environment; those in
//! [`Setting`] may also be in objects of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use decant_shared::protocol::units::{Overhead, Rate};
use serde_json::{Map, Value};

/// The cipher suites of the Intermediate profile (docs/protocol.md section 2.5).
pub(crate) const INTERMEDIATE_CIPHERS: &str = "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,\
    ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,\
    ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305";

/// All settings.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Settings of the pods.
    pub pods: PodPolicy,
    /// When clones may start.
    pub scheduling: SchedulingPolicy,
    /// Intervals and limits.
    pub intervals: Intervals,
    /// Share of a filesystem volume that files cannot use, for classes without a value of their own (docs/protocol.md
    /// section 4.8).
    pub overhead: Overhead,
    /// The same share for storage classes with a value of their own.
    pub class_overheads: BTreeMap<String, Overhead>,
    /// Whether clones preallocate if the DataVolume does not specify it.
    pub preallocation: bool,
    /// Whether claims that wait for their first consumer are left to it.
    pub honor_wait_for_first_consumer: bool,
    /// Which requests for clones are served.
    pub scope: Scope,
    /// How the bytes travel, unless a clone has a wish of its own.
    pub transfer: Transfer,
    /// What happens while pods may write to the source of a clone, unless the clone specifies it.
    pub source_in_use: SourceInUse,
    /// Whether claims may be adopted without the annotation.
    pub claim_adoption: bool,
    /// The settings that a flag names. The cluster does not change them.
    pub given: BTreeSet<Setting>,
}

/// A setting that the cluster can have in an object of CDI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// [`Policy::overhead`].
    FilesystemOverhead,
    /// [`Policy::class_overheads`].
    ClassOverheads,
    /// [`PodPolicy::resources`].
    PodResources,
    /// [`PodPolicy::pull_secrets`].
    PullSecrets,
    /// [`Policy::preallocation`].
    Preallocation,
    /// [`PodPolicy::node_selector`].
    NodeSelector,
    /// [`PodPolicy::tolerations`].
    Tolerations,
    /// [`PodPolicy::affinity`].
    Affinity,
    /// [`PodPolicy::tls_min_version`].
    TlsMinVersion,
    /// [`PodPolicy::tls_ciphers`].
    TlsCiphers,
}

impl Setting {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Setting::FilesystemOverhead => "filesystem overhead",
            Setting::ClassOverheads => "filesystem overhead by class",
            Setting::PodResources => "pod resources",
            Setting::PullSecrets => "pull secrets",
            Setting::Preallocation => "preallocation",
            Setting::NodeSelector => "node selector",
            Setting::Tolerations => "tolerations",
            Setting::Affinity => "affinity",
            Setting::TlsMinVersion => "oldest TLS version",
            Setting::TlsCiphers => "TLS cipher suites",
        }
    }

    /// The flag that sets it; empty if there is none.
    pub fn flag(self) -> &'static str {
        match self {
            Setting::FilesystemOverhead => "--filesystem-overhead",
            Setting::ClassOverheads => "--class-overhead",
            Setting::PodResources => "--pod-resources",
            Setting::PullSecrets => "--pull-secret",
            Setting::Preallocation => "--preallocation",
            Setting::NodeSelector => "--node-selector",
            Setting::Tolerations => "--tolerations",
            Setting::Affinity => "",
            Setting::TlsMinVersion => "--tls-min-version",
            Setting::TlsCiphers => "--tls-ciphers",
        }
    }
}

/// Settings of the pods.
#[derive(Debug, Clone)]
pub struct PodPolicy {
    /// Image of source and target.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// Names of Secrets with credentials of registries.
    pub pull_secrets: Vec<String>,
    /// `resources` of both containers.
    pub resources: Value,
    /// `nodeSelector` of both pods.
    pub node_selector: BTreeMap<String, String>,
    /// `tolerations` of both pods.
    pub tolerations: Value,
    /// `affinity` of both pods, in addition to the terms that a clone needs.
    pub affinity: Map<String, Value>,
    /// Annotations of both pods, unless the claim has other values.
    pub annotations: BTreeMap<String, String>,
    /// Further labels of all objects, such as `app.kubernetes.io/part-of` and `app.kubernetes.io/version`.
    pub extra_labels: BTreeMap<String, String>,
    /// Cipher suites that targets accept, comma-separated, with OpenSSL's names.
    pub tls_ciphers: String,
    /// The oldest TLS version that targets accept, for example `VersionTLS12`.
    pub tls_min_version: String,
    /// How long a leaf certificate lives.
    pub certificate_life: Duration,
    /// How long an idle target waits for its source before it is replaced.
    pub target_deadline: Duration,
    /// The bandwidth limit with which pods start, instead of the clone's own; `None` without a budget.
    pub start_limit: Option<Rate>,
}

/// When clones may start.
#[derive(Debug, Clone)]
pub struct SchedulingPolicy {
    /// Maximum number of clones that run at the same time in the whole cluster.
    pub running_max: usize,
    /// The same for each target storage class.
    pub running_max_per_class: usize,
    /// Bandwidth that all running clones share; `None` for no limit.
    pub bandwidth_budget: Option<Rate>,
}

/// Intervals and limits.
#[derive(Debug, Clone)]
pub struct Intervals {
    /// Interval of polling a running clone, if few run.
    pub poll: Duration,
    /// Time limit of one scrape.
    pub scrape_limit: Duration,
    /// Interval of checking a condition that may change without an event: a source in use, a missing permission.
    pub wait: Duration,
    /// Interval of progress writes of one clone.
    pub progress_write: Duration,
    /// Maximum number of progress writes per second, for all clones together.
    pub progress_writes_per_sec: u32,
    /// How long a source pod may keep running after its target succeeded.
    pub source_grace: Duration,
    /// Shortest and longest pause after an error.
    pub backoff: (Duration, Duration),
}

/// How the bytes of clones travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Directly if one pod can mount both volumes, else over the network.
    Auto,
    /// Only in one pod.
    Direct,
    /// Only between two pods.
    Network,
}

/// What happens while pods may write to the source of a clone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceInUse {
    /// The clone waits until none does.
    #[default]
    Wait,
    /// A snapshot of the source is cloned.
    Snapshot,
}

/// Which requests for clones are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// DataVolumes, and PVCs with any data source that this controller knows or the annotation of a clone.
    #[default]
    All,
    /// Only PVCs whose data source is a CloneSource: CDI's controllers serve the others.
    CloneSources,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pods: PodPolicy {
                image: format!("decant/cloner:{}", env!("CARGO_PKG_VERSION")),
                pull_policy: "IfNotPresent".to_owned(),
                pull_secrets: Vec::new(),
                resources: serde_json::json!({
                    "requests": {"cpu": "100m", "memory": "60M"},
                    "limits": {"cpu": "750m", "memory": "600M"},
                }),
                node_selector: BTreeMap::new(),
                tolerations: Value::Array(Vec::new()),
                affinity: Map::new(),
                annotations: BTreeMap::new(),
                extra_labels: BTreeMap::new(),
                tls_ciphers: INTERMEDIATE_CIPHERS.to_owned(),
                tls_min_version: "VersionTLS12".to_owned(),
                certificate_life: Duration::from_secs(24 * 3600),
                target_deadline: Duration::from_secs(12 * 3600),
                start_limit: None,
            },
            scheduling: SchedulingPolicy {
                running_max: 20,
                running_max_per_class: 20,
                bandwidth_budget: None,
            },
            intervals: Intervals {
                poll: Duration::from_secs(2),
                scrape_limit: Duration::from_secs(2),
                wait: Duration::from_secs(2),
                progress_write: Duration::from_secs(5),
                progress_writes_per_sec: 20,
                source_grace: Duration::from_secs(30),
                backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            },
            overhead: "0.06".parse().unwrap_or(Overhead::NONE),
            class_overheads: BTreeMap::new(),
            preallocation: false,
            honor_wait_for_first_consumer: true,
            scope: Scope::All,
            transfer: Transfer::Auto,
            source_in_use: SourceInUse::Wait,
            claim_adoption: false,
            given: BTreeSet::new(),
        }
    }
}
