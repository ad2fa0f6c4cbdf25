//! A pod: the volumes that it uses, and the state of its containers.

use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::annotations::KEYS;
use crate::objects::meta::Meta;
use crate::objects::phase::{ConditionStatus, PodPhase};

/// How long a pod may exist after it should be gone. A kubelet that answers needs seconds.
const OVERSTAY: Duration = Duration::from_secs(60);

/// What is read of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: PodSpec,
    /// Its status.
    pub status: PodStatus,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Volumes.
    pub volumes: Vec<PodVolume>,
    /// Main containers.
    pub containers: Vec<Container>,
    /// Init containers.
    pub init_containers: Vec<Container>,
    /// Ephemeral containers, for debugging.
    pub ephemeral_containers: Vec<Container>,
    /// The node, once there is one.
    pub node_name: String,
}

/// A volume of a pod; only claims matter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolume {
    /// Its name within the pod.
    pub name: String,
    /// Its claim.
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// Set if a claim is created for it, with the name `<pod>-<volume>`.
    pub ephemeral: Option<EphemeralVolume>,
}

/// A volume whose claim lives as long as its pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EphemeralVolume {}

/// A claim as a volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimVolume {
    /// The claim's name.
    pub claim_name: String,
    /// Whether the whole volume is read-only.
    pub read_only: bool,
}

/// A container, as far as volumes go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Mounted filesystems.
    pub volume_mounts: Vec<Mount>,
    /// Devices.
    pub volume_devices: Vec<Device>,
    /// Ports, by name.
    pub ports: Vec<Port>,
}

/// A mounted volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// The volume's name.
    pub name: String,
    /// Whether it cannot write.
    pub read_only: bool,
}

/// A volume as a device.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Device {
    /// The volume's name.
    pub name: String,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number.
    pub container_port: u16,
}

/// The status of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The phase: a summary of its containers' states.
    pub phase: PodPhase,
    /// For example `Evicted`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Its address, once there is one.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// For example `PodScheduled`, `Ready`.
    pub conditions: Vec<PodCondition>,
    /// Main containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Init containers.
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// For example `Unschedulable`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when it has this status; RFC 3339.
    pub last_transition_time: String,
}

/// The status of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether its readiness probe succeeds.
    pub ready: bool,
    /// How often it was restarted.
    pub restart_count: i64,
    /// Its image, as asked for.
    pub image: String,
    /// The current state.
    pub state: ContainerState,
    /// The state before the last start.
    pub last_state: ContainerState,
}

/// The state of a container: exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Not started.
    pub waiting: Option<Waiting>,
    /// Running.
    pub running: Option<Running>,
    /// Ended.
    pub terminated: Option<Terminated>,
}

/// Why a container does not run yet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// For example `ContainerCreating`, `ErrImagePull`, `CrashLoopBackOff`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Since when a container runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// RFC 3339.
    pub started_at: String,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i64,
    /// For example `OOMKilled`, `Error`, `Completed`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// RFC 3339.
    pub finished_at: String,
}

impl Pod {
    /// Whether it is the pod of a direct clone: it has no keys. The annotation is part of its seal.
    pub fn is_direct(&self) -> bool {
        self.metadata.annotation(KEYS) == Some("")
    }

    /// The status of the container `name`. It is never found by position, because meshes inject containers
    /// (docs/migrate-from-cdi.md row 44).
    pub fn container_status(&self, name: &str) -> Option<&ContainerStatus> {
        self.status.container_statuses.iter().find(|status| status.name == name)
    }

    /// Whether no node has room for it now. Other reasons why it has no node, such as a volume on another node, do not
    /// count: they persist when other pods end.
    pub fn finds_no_room(&self) -> bool {
        self.unscheduled().is_some_and(|refused| {
            refused.message.contains("Insufficient ") || refused.message.contains("Too many pods")
        })
    }

    /// The `PodScheduled` condition of a pod without a node; `None` if it has a node.
    pub fn unscheduled(&self) -> Option<&PodCondition> {
        let mut conditions = self.status.conditions.iter();
        conditions
            .find(|condition| condition.kind == "PodScheduled" && condition.status == ConditionStatus::False)
    }

    /// Whether it should have been gone for a while: the kubelet of its node does not answer, or cannot end it. The time of
    /// a deletion includes the time that the pod has to end.
    pub fn overstays(&self, now: OffsetDateTime) -> bool {
        let due = self.metadata.deletion_timestamp.as_deref().unwrap_or_default();
        !self.spec.node_name.is_empty()
            && OffsetDateTime::parse(due, &Rfc3339).is_ok_and(|due| now - due >= OVERSTAY)
    }

    /// Whether it has ended, successfully or not.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Whether the container `name` ended with exit code 0, which is final: the kubelet restarts the containers of a
    /// clone on any other code. The pod's phase alone does not decide: an injected container that never ends keeps it
    /// at Running, and an eviction after the end makes it Failed. In these phases the container must have left a
    /// termination message; a container that never ran leaves none.
    pub fn ended_well(&self, name: &str) -> bool {
        let has_succeeded = self.status.phase == PodPhase::Succeeded;
        match self.container_status(name).and_then(|status| status.state.terminated.as_ref()) {
            Some(ended) => ended.exit_code == 0 && (has_succeeded || !ended.message.trim().is_empty()),
            None => has_succeeded,
        }
    }

    /// Whether the container `name` will not run again.
    pub fn is_over(&self, name: &str) -> bool {
        self.has_ended() || self.ended_well(name)
    }
}
