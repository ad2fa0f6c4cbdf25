//! Claims that are filled before they are bound. The controller polls the source under the key of the prime PVC; people
//! know the claim that gets its volume.

use crate::objects::{Key, names};
use crate::progress::clone_progress::Progress;
use crate::reconcile::reconciler::Reconciler;

/// The progress of the clone into `target`, directly or through its prime.
pub(super) fn reading(reconciler: &Reconciler, target: &Key) -> Option<Progress> {
    let readings = &reconciler.pollers.readings;
    let by_prime = || {
        let stores = &reconciler.observer.stores;
        let uid = stores.claims.get(target)?.metadata.uid.clone();
        let primes = stores.claims_that_populate(target);
        primes
            .iter()
            .filter(|prime| names::is_prime(&prime.metadata.name, &uid))
            .find_map(|prime| readings.get(&prime.metadata.key()))
    };
    readings.get(target).or_else(by_prime)
}

/// The claim that gets the volume of the claim `key`; `key` itself if it is no prime. Annotations name the target, but
/// only clones of this controller are polled.
pub(super) fn shown_key(reconciler: &Reconciler, key: &Key) -> Key {
    let stores = &reconciler.observer.stores;
    let target = || {
        let target = stores.claims.get(&stores.claims.get(key)?.populates()?)?;
        names::is_prime(&key.name, &target.metadata.uid).then(|| target.metadata.key())
    };
    target().unwrap_or_else(|| key.clone())
}
