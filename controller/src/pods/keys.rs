//! Generations of a pod's keys: when each one is due, and where the pod finds it.
//!
//! A pod's Secrets are created and never changed, so that the controller needs no right to read Secrets. Each
//! generation is a separate Secret. The volume of the pod names all of them; the kubelet mounts those that exist. A
//! generation lives twice as long as the previous one, so even a long clone needs only a few.

use std::time::Duration;

use serde_json::{Value, json};

use crate::objects::names;
use crate::pods::role::Role;

/// Subdirectory of the directory of the first keys. It has one directory for each later generation, named by its
/// number.
const RENEWED: &str = "renewed";
/// The highest generation. If the first certificates live for one day, it lives for 256 days and is created after 127.
const LAST: u32 = 8;

/// One generation of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation that a pod starts with.
    pub const FIRST: Self = Self(0);

    /// How long its certificates live, if those of the first generation live for `first`.
    pub fn life(self, first: Duration) -> Duration {
        first.saturating_mul(1 << self.0.min(LAST))
    }
}

/// The generation that a pod of this age should have. Each is due when half of the life of the previous one is over.
pub fn generation_due(age: Duration, first: Duration) -> Generation {
    let mut due = Generation::FIRST;
    let mut made_at = Duration::ZERO;
    while due.0 < LAST {
        made_at = made_at.saturating_add(due.life(first) / 2);
        if age < made_at {
            break;
        }
        due.0 += 1;
    }
    due
}

/// A file in a directory, and the key of the Secret with its content.
pub(super) struct File {
    /// Key of the Secret.
    pub(super) key: &'static str,
    /// Name in the directory of the first keys.
    pub(super) path: &'static str,
}

/// The files of a renewed generation, which have the names of the Secret's keys.
const fn entries(role: Role) -> &'static [&'static str] {
    match role {
        Role::Source => &["tls.key", "tls.crt", "ca.crt", "metrics.key", "metrics.crt"],
        Role::Target => &["tls.key", "tls.crt", "ca.crt"],
    }
}

/// The volume with the keys of a pod whose first Secret is `secret`. A pod does not start without `first`; later
/// generations appear while it runs.
pub(super) fn volume(name: &str, role: Role, secret: &str, first: &[File]) -> Value {
    let items: Vec<Value> = first.iter().map(|file| json!({ "key": file.key, "path": file.path })).collect();
    let later = (1..=LAST).map(|generation| {
        let items: Vec<Value> = entries(role)
            .iter()
            .map(|entry| json!({ "key": entry, "path": format!("{RENEWED}/{generation}/{entry}") }))
            .collect();
        let name = names::secret_generation(secret, generation);
        json!({ "secret": { "name": name, "optional": true, "items": items } })
    });
    let sources: Vec<Value> =
        std::iter::once(json!({ "secret": { "name": secret, "items": items } })).chain(later).collect();
    json!({ "name": name, "projected": { "sources": sources } })
}

/// The variable that names the directory of renewed keys in a volume mounted at `directory`.
pub(super) fn variable(directory: &str) -> Value {
    json!({ "name": "DECANT_RENEWED_KEYS", "value": format!("{}/{RENEWED}", directory.trim_end_matches('/')) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_generation_is_made_at_half_of_the_previous_ones_life() {
        for (half_days, due) in
            [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (254, 7), (255, 8), (100_000, 8)]
        {
            assert_eq!(
                generation_due(DAY / 2 * half_days, DAY),
                Generation(due),
                "after {half_days} half days"
            );
        }
    }

    proptest! {
        #[test]
        fn at_every_age_below_a_year_the_generation_that_is_due_is_still_good(age_secs in 0_u64..380 * 86_400) {
            let age = Duration::from_secs(age_secs);
            let due = generation_due(age, DAY);
            let made_at: Duration = (0..due.0).map(|earlier| Generation(earlier).life(DAY) / 2).sum();
            prop_assert!(made_at <= age && age < made_at + due.life(DAY));
        }
    }
}
