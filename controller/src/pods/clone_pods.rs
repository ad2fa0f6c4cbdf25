//! The input from which both pods of a clone are built.

use crate::objects::pod_settings::PodSettings;
use crate::objects::{Claim, Key, Uid, names};
use crate::pods::identity::PodIdentity;
use crate::pods::role::Role;
use crate::policy::PodPolicy;
use crate::token::key::TokenKey;

/// User and group of all processes in the clone's pods, and the group of the volumes' files (docs/protocol.md section
/// 3.10).
pub(super) const USER: u32 = 107;
/// Where block volumes appear in both pods.
pub(super) const DEVICE: &str = "/dev/cdi-block-volume";
/// Where a source's filesystem is mounted.
pub(super) const SOURCE_DIRECTORY: &str = "/var/run/cdi/clone/source";

/// The input from which both pods of a clone are built.
#[derive(Debug, Clone, Copy)]
pub struct ClonePods<'a> {
    /// The claim that asks for the clone.
    pub target: &'a Claim,
    /// The claim that is cloned.
    pub source: &'a Claim,
    /// The UID under which the source reports its progress.
    pub owner_uid: &'a Uid,
    /// The operator's settings for pods.
    pub policy: &'a PodPolicy,
    /// The authorities that issue their certificates.
    pub authority: &'a str,
    /// The key that seals their identities.
    pub seal: &'a TokenKey,
    /// Random digits in the name of the pod's Secrets.
    pub nonce: &'a str,
}

impl ClonePods<'_> {
    /// What the user of the clone chose for its pods in `namespace`.
    pub(super) fn settings(&self, namespace: &str) -> PodSettings {
        // What is wrong was refused before any pod is created.
        let settings = PodSettings::of(&self.target.metadata).unwrap_or_default();
        if namespace == self.target.metadata.namespace { settings } else { settings.elsewhere() }
    }

    /// The identity of the pod `pod` of this clone; `target_pod` is the pod that a source sends to.
    pub(super) fn identity(&self, role: Role, pod: Key, target_pod: Option<&Uid>) -> PodIdentity {
        let keys = names::secret(&pod.name, self.nonce);
        PodIdentity {
            role,
            pod,
            clone: self.target.metadata.key(),
            target_claim: self.target.metadata.uid.clone(),
            source_claim: self.source.metadata.uid.clone(),
            target_pod: target_pod.cloned(),
            authority: self.authority.to_owned(),
            keys,
        }
    }
}
