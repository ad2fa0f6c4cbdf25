//! CDI's settings of a cluster: the kinds CDIConfig and CDI. Each part is read by itself, so a part that cannot be read
//! affects no other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::objects::checked::Checked;
use crate::objects::claim::Quantity;
use crate::objects::meta::Meta;
use crate::objects::placement::Toleration;

/// What is read of the CDIConfig. Its name is [`CDI_CONFIG`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CdiConfig {
    /// Metadata.
    pub metadata: Meta,
    /// What CDI's operator copied from the object of kind CDI.
    pub spec: ConfigPart,
    /// What CDI's controller computed from it.
    pub status: ConfigStatus,
}

/// The name of the only CDIConfig that counts.
pub const CDI_CONFIG: &str = "config";

/// What is read of an object of kind CDI.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Cdi {
    /// Metadata.
    pub metadata: Meta,
    /// The settings.
    pub spec: CdiSpec,
    /// The state of CDI's operator.
    pub status: CdiStatus,
}

/// The settings in an object of kind CDI.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CdiSpec {
    /// Where pods that move data run.
    pub workload: Workload,
    /// What becomes the spec of the CDIConfig.
    pub config: ConfigPart,
}

/// The state of CDI's operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CdiStatus {
    /// `Error` for an object that has no effect.
    pub phase: String,
}

/// Where pods run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// Required labels of the node.
    pub node_selector: Option<Checked<BTreeMap<String, String>>>,
    /// Tolerated taints.
    pub tolerations: Option<Checked<Vec<Toleration>>>,
    /// Affinity to nodes and other pods.
    pub affinity: Option<Checked<Map<String, Value>>>,
}

/// The settings in the spec of a CDIConfig.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigPart {
    /// The part of filesystems that files cannot use.
    pub filesystem_overhead: Option<Checked<OverheadTexts>>,
    /// Resources of the pods.
    pub pod_resource_requirements: Option<Checked<PodResources>>,
    /// Whether clones preallocate.
    pub preallocation: Option<Checked<bool>>,
    /// Names of Secrets with credentials of registries.
    pub image_pull_secrets: Option<Checked<Vec<SecretName>>>,
    /// Versions and cipher suites of TLS.
    pub tls_security_profile: Option<Checked<TlsProfile>>,
}

/// The settings in the status of a CDIConfig.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigStatus {
    /// The part of filesystems that files cannot use.
    pub filesystem_overhead: Option<Checked<OverheadTexts>>,
    /// Resources of the pods.
    pub default_pod_resource_requirements: Option<Checked<PodResources>>,
    /// Whether clones preallocate.
    pub preallocation: Option<Checked<bool>>,
    /// Names of Secrets with credentials of registries.
    pub image_pull_secrets: Option<Checked<Vec<SecretName>>>,
}

/// Overheads as decimal strings, such as `0.06`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OverheadTexts {
    /// For all storage classes; empty for none.
    pub global: String,
    /// By storage class.
    pub storage_class: BTreeMap<String, String>,
}

/// `resources` of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodResources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    requests: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Quantity>,
}

impl PodResources {
    /// Whether nothing is requested and nothing limited.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// A Secret, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// A TLS security profile, as in OpenShift.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TlsProfile {
    /// `Old`, `Intermediate`, `Modern` or `Custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The settings of the type `Custom`.
    pub custom: Option<CustomTls>,
}

/// A TLS profile with settings of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CustomTls {
    /// Cipher suites, with the names of OpenSSL.
    pub ciphers: Vec<String>,
    /// The oldest version, such as `VersionTLS12`.
    #[serde(rename = "minTLSVersion")]
    pub min_tls_version: String,
}
