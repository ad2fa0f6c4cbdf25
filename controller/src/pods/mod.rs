//! The objects that a clone consists of, as JSON. Pure: the same input gives the same object.

mod claim;
mod frame;
mod identity;
mod inherited;
mod keys;
mod secret;
mod source;
mod target;

pub use claim::{claim_spec, kept_claim, new_claim};
pub(crate) use claim::{kept_claim_spec, owner};
pub use identity::Identity;
#[cfg(test)]
pub(crate) use identity::sealed_pod;
pub use keys::{Generation, generation_due};
pub use secret::{Pem, secret};
pub use source::source_pod;
pub(crate) use target::INTERMEDIATE_CIPHERS;
pub use target::target_pod;

use crate::decide::Role;
use crate::names;
use crate::policy::PodPolicy;
use crate::resource::{Claim, Key, Uid};
use crate::token::TokenKey;

/// User and group of everything in our pods, and the group of the volumes' files (contract 3.10).
const USER: u32 = 107;
/// Where block volumes appear in both pods.
const DEVICE: &str = "/dev/cdi-block-volume";
/// Where a source's filesystem is mounted.
const SOURCE_FOLDER: &str = "/var/run/cdi/clone/source";

/// What both pods of a clone are made from.
#[derive(Debug, Clone, Copy)]
pub struct Clone<'a> {
    /// The claim that asks for the clone.
    pub target: &'a Claim,
    /// The claim that is cloned.
    pub source: &'a Claim,
    /// Under which UID the source reports its progress.
    pub owner_uid: &'a Uid,
    /// What the operator wants of pods.
    pub policy: &'a PodPolicy,
    /// Which authorities issue their certificates.
    pub authority: &'a str,
    /// What their identities are sealed with.
    pub seal: &'a TokenKey,
    /// Random digits in the name of the pod's Secrets.
    pub nonce: &'a str,
}

impl Clone<'_> {
    /// The identity of the pod `pod` of this clone; `target_pod` is what a source sends to.
    fn identity(&self, role: Role, pod: Key, target_pod: Option<&Uid>) -> Identity {
        let keys = names::secret(&pod.name, self.nonce);
        Identity {
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
