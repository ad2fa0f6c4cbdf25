//! Claims that are filled before they are bound. The controller polls the source under the key of the prime PVC; people
//! know the claim that gets its volume.

use crate::objects::Key;
use crate::progress::clone_progress::Progress;
use crate::reconcile::reconciler::Reconciler;

/// The progress of the clone into `target`, directly or through its prime.
pub(super) fn reading(reconciler: &Reconciler, target: &Key) -> Option<Progress> {
    let readings = &reconciler.pollers.readings;
    let by_prime = || {
        let stores = &reconciler.observer.stores;
        let target = stores.claims.get(target)?;
        stores.primes_of(&target).iter().find_map(|prime| readings.get(&prime.metadata.key()))
    };
    readings.get(target).or_else(by_prime)
}

/// The claim that gets the volume of the claim `key`; `key` itself if it is no prime.
pub(super) fn shown_key(reconciler: &Reconciler, key: &Key) -> Key {
    let stores = &reconciler.observer.stores;
    let target = stores.claims.get(key).and_then(|prime| stores.target_of(&prime));
    target.map_or_else(|| key.clone(), |target| target.metadata.key())
}
