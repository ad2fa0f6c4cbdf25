//! The command line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use decant_shared::process::log::Format;
use decant_shared::protocol::units::{Overhead, Rate};
use serde_json::Value;

use crate::policy::{Policy, Scope, Setting, SourceInUse, Transfer};
use crate::progress::bandwidth::START;
use crate::run::RunSettings;
use crate::webhook::callers::Callers;

/// Watches DataVolumes and clones volumes for them.
#[derive(Debug, Parser)]
#[command(name = "controller", version, arg_required_else_help = true, after_long_help = decant_shared::protocol::exit_code::help())]
pub struct Cli {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the controller.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch DataVolumes and clone volumes, until SIGTERM
    Run(Box<RunArgs>),
    /// Serve only the admission webhook, until SIGTERM
    Webhook(Box<WebhookArgs>),
    /// Print the CustomResourceDefinitions, for `kubectl apply -f -`
    Crds,
}

/// Flags of every process of the controller.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// Kubeconfig of the cluster; by default the service account of the pod, else $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "DECANT_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Secrets of the controller
    #[arg(long, env = "DECANT_NAMESPACE", default_value = "decant-system")]
    pub namespace: String,
    /// Also serve /healthz and /readyz at this address, separately from other pages
    #[arg(long, env = "DECANT_PROBE_LISTEN")]
    pub probe_listen: Option<SocketAddr>,
    /// Write log lines as text or as json
    #[arg(long, env = "DECANT_LOG_FORMAT", default_value = "text", value_parser = format)]
    pub log_format: Format,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, env = "DECANT_LOG_LEVEL", default_value = "info")]
    pub log_level: log::LevelFilter,
}

/// Flags of every process that serves the admission webhook.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Adopt an existing PVC with the name of the DataVolume even without the annotation of the PVC
    #[arg(long, env = "DECANT_CLAIM_ADOPTION")]
    pub claim_adoption: bool,
    /// Service through which the API server calls the webhook
    #[arg(long, env = "DECANT_WEBHOOK_SERVICE", default_value = "cdi-api")]
    pub webhook_service: String,
    /// PEM file with the authorities of the API server's client certificate: the webhook answers only such clients
    #[arg(long, env = "DECANT_WEBHOOK_CLIENT_CA")]
    pub webhook_client_ca: Option<PathBuf>,
    /// Common name of the API server's client certificate; may be repeated; by default any name
    #[arg(
        long = "webhook-client-name",
        env = "DECANT_WEBHOOK_CLIENT_NAMES",
        value_delimiter = ',',
        requires = "webhook_client_ca"
    )]
    pub webhook_client_names: Vec<String>,
    /// Service account of the controller: only it may write tokens
    #[arg(long, env = "DECANT_SERVICE_ACCOUNT", default_value = "decant-controller")]
    pub service_account: String,
}

impl GateArgs {
    /// Whom the webhook answers; `None` for every client.
    pub fn callers(&self) -> Option<Callers> {
        let authorities = self.webhook_client_ca.clone()?;
        Some(Callers { authorities, names: self.webhook_client_names.clone() })
    }
}

/// Flags of `webhook`, with the environment variables of `run`.
#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub gate: GateArgs,
    /// Serve the admission webhook at this address; `[::]` is every address of both IP families
    #[arg(long, env = "DECANT_WEBHOOK_LISTEN", default_value = "[::]:8443")]
    pub webhook_listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics; `[::]` is every address of both IP families
    #[arg(long, env = "DECANT_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
}

/// Flags of `run`. Every flag has an environment variable; flags take precedence.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub gate: GateArgs,
    /// How the bytes of a clone travel if it does not specify it: auto, direct (one pod mounts both volumes) or network
    #[arg(long, env = "DECANT_TRANSFER", default_value = "auto", value_parser = transfer)]
    pub transfer: Transfer,
    /// What happens while pods may write to the source of a clone, unless the clone specifies it: wait, or snapshot to clone a
    /// crash-consistent snapshot of it
    #[arg(long, env = "DECANT_SOURCE_IN_USE", default_value = "wait", value_parser = source_in_use)]
    pub source_in_use: SourceInUse,
    /// Serve only PVCs whose data source is a CloneSource, and leave DataVolumes to CDI in the same cluster
    #[arg(long, env = "DECANT_BESIDE_CDI")]
    pub beside_cdi: bool,
    /// Watch only this namespace
    #[arg(long, env = "DECANT_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Image of the pods that clone
    #[arg(long, env = "DECANT_CLONER_IMAGE", default_value = concat!("decant/cloner:", env!("CARGO_PKG_VERSION")))]
    pub cloner_image: String,
    /// Image pull policy: Always, IfNotPresent or Never
    #[arg(long, env = "DECANT_PULL_POLICY", default_value = "IfNotPresent")]
    pub pull_policy: String,
    /// Name of a Secret with registry credentials; may be repeated
    #[arg(long = "pull-secret", env = "DECANT_PULL_SECRETS", value_delimiter = ',')]
    pub pull_secrets: Vec<String>,
    /// `resources` of the containers that clone, as JSON
    #[arg(long, env = "DECANT_POD_RESOURCES", value_parser = json)]
    pub pod_resources: Option<Value>,
    /// `tolerations` of the pods that clone, as JSON
    #[arg(long, env = "DECANT_TOLERATIONS", value_parser = json)]
    pub tolerations: Option<Value>,
    /// Required label of the node, name=value; may be repeated
    #[arg(long = "node-selector", env = "DECANT_NODE_SELECTOR", value_delimiter = ',', value_parser = pair)]
    pub node_selector: Vec<(String, String)>,
    /// Annotations of the pods that clone, as JSON; annotations from the DataVolume or PVC take precedence
    #[arg(long, env = "DECANT_POD_ANNOTATIONS", value_parser = annotations)]
    pub pod_annotations: Option<BTreeMap<String, String>>,
    /// Maximum number of running clones
    #[arg(long, env = "DECANT_MAX_CLONES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_clones: u16,
    /// Maximum number of running clones for each storage class of the targets
    #[arg(long, env = "DECANT_MAX_CLONES_PER_CLASS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_clones_per_class: u16,
    /// Bandwidth that all running clones share, such as 500MiB/s; by default no limit
    #[arg(long, env = "DECANT_TOTAL_BANDWIDTH_LIMIT")]
    pub total_bandwidth_limit: Option<Rate>,
    /// Fraction of a filesystem volume that files cannot use; by default that of the CDIConfig, else 0.06
    #[arg(long, env = "DECANT_FILESYSTEM_OVERHEAD", value_parser = overhead)]
    pub filesystem_overhead: Option<Overhead>,
    /// Whether clones preallocate if the DataVolume does not specify it; by default as in the CDIConfig, else false
    #[arg(long, env = "DECANT_PREALLOCATION", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = clap::builder::FalseyValueParser::new())]
    pub preallocation: Option<bool>,
    /// Threads that reconcile clones
    #[arg(long, env = "DECANT_WORKERS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub workers: u8,
    /// Threads that poll the progress of running clones
    #[arg(long, env = "DECANT_POLLERS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub pollers: u8,
    /// Seconds between two polls of a running clone, if few run
    #[arg(long, env = "DECANT_POLL_SECS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub poll_secs: u16,
    /// Maximum progress writes per second, for all clones together
    #[arg(long, env = "DECANT_PROGRESS_WRITES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub progress_writes: u16,
    /// Seconds between two progress writes of one clone
    #[arg(long, env = "DECANT_PROGRESS_SECS", default_value_t = 5)]
    pub progress_secs: u16,
    /// Address of /healthz, /readyz and /metrics; `[::]` is every address of both IP families
    #[arg(long, env = "DECANT_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Also serve /status there: a page with the progress of clones, without authentication
    #[arg(long, env = "DECANT_STATUS_PAGE")]
    pub status_page: bool,
    /// Act without a Lease; only one such process may run
    #[arg(long, env = "DECANT_NO_LEADER_ELECTION")]
    pub no_leader_election: bool,
    /// Unique holder name for the Lease: the name of the pod; by default host and process id
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Fraction of a filesystem volume of this storage class that files cannot use, class=fraction; may be repeated
    #[arg(long = "class-overhead", env = "DECANT_CLASS_OVERHEADS", value_delimiter = ',', value_parser = class_overhead)]
    pub class_overheads: Vec<(String, Overhead)>,
    /// Bind targets immediately even if their storage class waits for the first consumer
    #[arg(long, env = "DECANT_BIND_IMMEDIATELY")]
    pub bind_immediately: bool,
    /// Label of all created objects, name=value; may be repeated
    #[arg(long = "label", env = "DECANT_LABELS", value_delimiter = ',', value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Cipher suites that targets accept, with the names of OpenSSL, separated by commas; by default those of the
    /// CDIConfig's TLS profile, else of the Intermediate profile
    #[arg(long, env = "DECANT_TLS_CIPHERS")]
    pub tls_ciphers: Option<String>,
    /// Oldest TLS version that targets accept, VersionTLS12 or VersionTLS13; by default that of the CDIConfig's TLS
    /// profile, else VersionTLS12
    #[arg(long, env = "DECANT_TLS_MIN_VERSION", value_parser = ["VersionTLS12", "VersionTLS13"])]
    pub tls_min_version: Option<String>,
    /// Lifetime of the certificate of a pod in seconds; renewed after half of it
    #[arg(long, env = "DECANT_CERTIFICATE_SECS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(30..))]
    pub certificate_secs: u32,
    /// Seconds after which a target without a source is replaced
    #[arg(long, env = "DECANT_TARGET_DEADLINE_SECS", default_value_t = 43_200, value_parser = clap::value_parser!(u32).range(60..))]
    pub target_deadline_secs: u32,
    /// Seconds that a source pod may keep running after its target succeeded
    #[arg(long, env = "DECANT_SOURCE_GRACE_SECS", default_value_t = 30)]
    pub source_grace_secs: u16,
    /// Seconds between two checks of a source in use or of a missing permission
    #[arg(long, env = "DECANT_WAIT_SECS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub wait_secs: u16,
    /// Seconds that a source pod may take to answer a progress poll
    #[arg(long, env = "DECANT_SCRAPE_SECS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub scrape_secs: u16,
    /// Longest pause in seconds before a retry
    #[arg(long, env = "DECANT_BACKOFF_SECS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    pub backoff_secs: u16,
    /// Serve the admission webhook at this address; without it, clones across namespaces need the consent of the owner
    #[arg(long, env = "DECANT_WEBHOOK_LISTEN")]
    pub webhook_listen: Option<SocketAddr>,
}

impl RunArgs {
    /// The unique name of this process.
    pub fn identity(&self) -> String {
        self.identity.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        })
    }

    /// Checks the flags against each other. The error tells what to change.
    pub fn check(&self) -> Result<(), String> {
        let least = Rate(2 * START.0 * u64::from(self.max_clones));
        match self.total_bandwidth_limit.filter(|limit| *limit < least) {
            None => Ok(()),
            Some(limit) => Err(format!(
                "--total-bandwidth-limit {limit} is too low for {} clones: use at least {least}, or lower --max-clones",
                self.max_clones
            )),
        }
    }

    /// The settings of the process.
    pub fn settings(&self) -> RunSettings {
        RunSettings {
            namespace: self.process.namespace.clone(),
            webhook_service: self.gate.webhook_service.clone(),
            watch_namespace: self.watch_namespace.clone(),
            workers: self.workers.into(),
            pollers: self.pollers.into(),
        }
    }

    /// The policy from the flags.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.pods.image.clone_from(&self.cloner_image);
        policy.pods.pull_policy.clone_from(&self.pull_policy);
        policy.pods.pull_secrets.clone_from(&self.pull_secrets);
        policy.pods.node_selector = self.node_selector.iter().cloned().collect();
        if let Some(resources) = &self.pod_resources {
            policy.pods.resources = resources.clone();
        }
        if let Some(tolerations) = &self.tolerations {
            policy.pods.tolerations = tolerations.clone();
        }
        policy.pods.annotations = self.pod_annotations.clone().unwrap_or_default();
        policy.scheduling.running_max = self.max_clones.into();
        policy.scheduling.running_max_per_class = self.max_clones_per_class.into();
        policy.scheduling.bandwidth_budget = self.total_bandwidth_limit;
        policy.pods.start_limit = self.total_bandwidth_limit.map(|_| START);
        policy.overhead = self.filesystem_overhead.unwrap_or(policy.overhead);
        policy.preallocation = self.preallocation.unwrap_or(policy.preallocation);
        policy.class_overheads = self.class_overheads.iter().cloned().collect();
        policy.claim_adoption = self.gate.claim_adoption;
        policy.honor_wait_for_first_consumer = !self.bind_immediately;
        policy.transfer = self.transfer;
        policy.source_in_use = self.source_in_use;
        policy.scope = if self.beside_cdi { Scope::CloneSources } else { Scope::All };
        policy.pods.extra_labels = self.labels.iter().cloned().collect();
        if let Some(version) = &self.tls_min_version {
            policy.pods.tls_min_version.clone_from(version);
        }
        if let Some(ciphers) = &self.tls_ciphers {
            policy.pods.tls_ciphers.clone_from(ciphers);
        }
        policy.pods.certificate_life = Duration::from_secs(self.certificate_secs.into());
        policy.pods.target_deadline = Duration::from_secs(self.target_deadline_secs.into());
        policy.intervals.source_grace = Duration::from_secs(self.source_grace_secs.into());
        policy.intervals.wait = Duration::from_secs(self.wait_secs.into());
        policy.intervals.scrape_limit = Duration::from_secs(self.scrape_secs.into());
        policy.intervals.backoff.1 = Duration::from_secs(self.backoff_secs.into());
        policy.intervals.poll = Duration::from_secs(self.poll_secs.into());
        policy.intervals.progress_write = Duration::from_secs(self.progress_secs.into());
        policy.intervals.progress_writes_per_sec = self.progress_writes.into();
        policy.given = self.given();
        policy
    }

    /// The settings that the flags name.
    fn given(&self) -> BTreeSet<Setting> {
        let named = [
            (Setting::FilesystemOverhead, self.filesystem_overhead.is_some()),
            (Setting::ClassOverheads, !self.class_overheads.is_empty()),
            (Setting::PodResources, self.pod_resources.is_some()),
            (Setting::PullSecrets, !self.pull_secrets.is_empty()),
            (Setting::Preallocation, self.preallocation.is_some()),
            (Setting::NodeSelector, !self.node_selector.is_empty()),
            (Setting::Tolerations, self.tolerations.is_some()),
            (Setting::TlsMinVersion, self.tls_min_version.is_some()),
            (Setting::TlsCiphers, self.tls_ciphers.is_some()),
        ];
        named.into_iter().filter_map(|(setting, is_given)| is_given.then_some(setting)).collect()
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}

/// As JSON instead of comma-separated pairs, because values of annotations contain commas.
fn annotations(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON object of strings: {e}"))
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("use text or json".to_owned()),
    }
}

fn transfer(text: &str) -> Result<Transfer, String> {
    match text {
        "auto" => Ok(Transfer::Auto),
        "direct" => Ok(Transfer::Direct),
        "network" => Ok(Transfer::Network),
        _ => Err("use auto, direct or network".to_owned()),
    }
}

fn source_in_use(text: &str) -> Result<SourceInUse, String> {
    match text {
        "wait" => Ok(SourceInUse::Wait),
        "snapshot" => Ok(SourceInUse::Snapshot),
        _ => Err("use wait or snapshot".to_owned()),
    }
}

fn overhead(text: &str) -> Result<Overhead, String> {
    text.parse().map_err(|e: decant_shared::protocol::units::OverheadError| e.to_string())
}

fn class_overhead(text: &str) -> Result<(String, Overhead), String> {
    let (class, share) = pair(text)?;
    Ok((class, overhead(&share)?))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
