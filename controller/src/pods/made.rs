//! The pods that this controller created, and how often it created them.
//!
//! A user who can delete a pod can copy its seal ([`crate::pods::identity::PodIdentity`]) to a new pod of the same
//! namespace and name. So the pod's UID, which no user can choose, is recorded on the claim under a separate seal. A
//! pod with a valid seal and another UID was not created by this controller: it gets no keys, is ignored, and is
//! deleted.
//!
//! Until the claim has the record, this process remembers the pod. If the process ends before the record is written,
//! the pod is replaced.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::objects::annotations::{SOURCE_POD, TARGET_POD};
use crate::objects::{Key, Meta, Uid};
use crate::pods::role::Role;
use crate::token::key::TokenKey;
use crate::token::seal::Purpose;

/// Pods of one clone that are created without a pause: enough for a clone whose pods are killed occasionally.
const AT_ONCE: u32 = 8;
/// Longest pause between two pods of one clone.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// After this time without a new pod, the count of a clone is reset to zero.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// What this process created for each clone: pods, temporary claims and snapshots.
#[derive(Debug, Default)]
pub struct MadePods(Mutex<HashMap<Key, Pods>>);

#[derive(Debug)]
struct Pods {
    uids: Vec<Uid>,
    count: u32,
    last: Instant,
}

impl MadePods {
    /// Remembers that a pod, temporary claim or snapshot of `clone` was created at `now`.
    pub fn note(&self, clone: &Key, object: &Uid, now: Instant) {
        let mut made = self.lock();
        made.retain(|_, pods| now.duration_since(pods.last) < FORGOTTEN_AFTER);
        let pods =
            made.entry(clone.clone()).or_insert_with(|| Pods { uids: Vec::new(), count: 0, last: now });
        pods.count = pods.count.saturating_add(1);
        pods.last = now;
        pods.uids.push(object.clone());
        // The last two of each role, and some that are being deleted.
        let surplus = pods.uids.len().saturating_sub(AT_ONCE as usize);
        pods.uids.drain(..surplus);
    }

    /// Whether another object of `clone` may be created at `now`. The pauses grow regardless of what removes the objects, and
    /// users cannot reset the count.
    pub fn may_make(&self, clone: &Key, now: Instant) -> bool {
        self.lock().get(clone).is_none_or(|pods| now.duration_since(pods.last) >= pause(pods.count))
    }

    /// Whether this process recently created the pod with this UID for `clone`.
    fn has(&self, clone: &Key, pod: &Uid) -> bool {
        self.lock().get(clone).is_some_and(|pods| pods.uids.contains(pod))
    }

    /// The UIDs of what this process recently created for the clone into the claim `target`.
    pub fn uids_of(&self, target: &Key) -> Vec<Uid> {
        self.lock().get(target).map(|made| made.uids.clone()).unwrap_or_default()
    }

    /// The provenance of `pod`, which has the role `role` in the clone into `claim` according to its seal.
    pub fn provenance(&self, role: Role, pod: &Meta, claim: &Meta, key: &TokenKey) -> Provenance {
        if claim.annotation(annotation(role)).is_some_and(|text| is_sealed(text, role, pod, claim, key)) {
            Provenance::Recorded
        } else if self.has(&claim.key(), &pod.uid) {
            Provenance::Remembered
        } else {
            Provenance::Unknown
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Pods>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The origin of a pod with a valid seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// The claim records that this controller created it.
    Recorded,
    /// This process created it; the claim has no record yet.
    Remembered,
    /// A user created it with copied annotations, or this controller ended before it could record it.
    Unknown,
}

fn pause(count: u32) -> Duration {
    match count.checked_sub(AT_ONCE) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(6)).min(PAUSE_MAX),
    }
}

/// The annotation of the claim that names the pod of this role.
pub fn annotation(role: Role) -> &'static str {
    match role {
        Role::Source => SOURCE_POD,
        Role::Target => TARGET_POD,
    }
}

/// The record of the pod with this UID: the UID and a seal.
pub fn record(role: Role, pod: &Uid, claim: &Uid, key: &TokenKey) -> String {
    format!("{pod} {}", key.seal(Purpose::MadePods, &[annotation(role), claim.as_str(), pod.as_str()]))
}

fn is_sealed(text: &str, role: Role, pod: &Meta, claim: &Meta, key: &TokenKey) -> bool {
    text.split_once(' ').is_some_and(|(uid, seal)| {
        uid == pod.uid.as_str()
            && key.has_sealed(Purpose::MadePods, &[annotation(role), claim.uid.as_str(), uid], seal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TokenKey {
        TokenKey::new(&[5; 32])
    }

    fn meta(uid: &str) -> Meta {
        Meta { namespace: "n".to_owned(), name: "c".to_owned(), uid: uid.into(), ..Meta::default() }
    }

    #[test]
    fn a_pod_is_known_by_its_uid_on_the_claim_or_in_memory_and_a_copy_of_it_is_not() {
        let (made, mut claim, pod, copy) = (MadePods::default(), meta("claim"), meta("pod"), meta("copy"));
        let origin =
            |made: &MadePods, pod: &Meta, claim: &Meta| made.provenance(Role::Target, pod, claim, &key());
        assert_eq!(origin(&made, &pod, &claim), Provenance::Unknown);
        made.note(&claim.key(), &pod.uid, Instant::now());
        assert_eq!(origin(&made, &pod, &claim), Provenance::Remembered);
        assert_eq!(origin(&made, &copy, &claim), Provenance::Unknown);
        claim.annotations.insert(TARGET_POD.to_owned(), record(Role::Target, &pod.uid, &claim.uid, &key()));
        let restarted = MadePods::default();
        assert_eq!(origin(&restarted, &pod, &claim), Provenance::Recorded);
        assert_eq!(origin(&restarted, &copy, &claim), Provenance::Unknown);
    }

    #[test]
    fn a_record_is_of_one_pod_of_one_role_of_one_claim() {
        let text = record(Role::Target, &"pod".into(), &"claim".into(), &key());
        let holds = |text: &str, role, pod: &str, claim: &str| {
            is_sealed(text, role, &meta(pod), &meta(claim), &key())
        };
        assert!(holds(&text, Role::Target, "pod", "claim"));
        assert!(!holds(&text, Role::Source, "pod", "claim"));
        assert!(!holds(&text, Role::Target, "copy", "claim"));
        assert!(!holds(&text, Role::Target, "pod", "another"));
        assert!(!holds(&text.replace("pod", "copy"), Role::Target, "copy", "claim"));
        assert!(!holds("pod", Role::Target, "pod", "claim"));
    }

    #[test]
    fn pods_of_one_clone_that_go_again_and_again_are_made_after_longer_and_longer_pauses() {
        let (made, clone, begin) = (MadePods::default(), Key::new("n", "c"), Instant::now());
        for number in 0..AT_ONCE {
            assert!(made.may_make(&clone, begin), "{number}");
            made.note(&clone, &"pod".into(), begin);
        }
        let at = |secs| begin + Duration::from_secs(secs);
        assert!(!made.may_make(&clone, begin) && made.may_make(&clone, at(1)));
        made.note(&clone, &"pod".into(), at(1));
        assert!(!made.may_make(&clone, at(2)) && made.may_make(&clone, at(3)));
        for _ in 0..100 {
            made.note(&clone, &"pod".into(), at(3));
        }
        assert!(!made.may_make(&clone, at(62)) && made.may_make(&clone, at(63)));
        assert!(made.may_make(&Key::new("n", "other"), at(3)), "other clones have nothing to do with it");
    }
}
