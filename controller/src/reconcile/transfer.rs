//! How the bytes of a clone travel: in one pod that mounts both volumes, or between two pods over the network
//! (docs/decisions/0014-direct-clones.md).

use crate::objects::annotations::{TRANSFER, TRANSFER_FALLBACK, TRANSFER_MODE};
use crate::policy::{Policy, Transfer};
use crate::reconcile::observed::Observed;

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferMode {
    /// One pod reads the source and writes the target.
    Direct,
    /// A source pod sends to a target pod.
    Network,
}

impl TransferMode {
    /// The text in annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Network => "network",
        }
    }

    /// The mode with this text.
    pub fn of(text: &str) -> Option<Self> {
        [Self::Direct, Self::Network].into_iter().find(|mode| mode.as_str() == text)
    }

    /// The text for people.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Direct => "in one pod",
            Self::Network => "over the network",
        }
    }
}

/// How the bytes of the clone in `seen` travel, once it has pods. For a claim that is filled before it is bound, those of
/// the clone into its prime, which may have ended since: then the prime tells it.
pub(crate) fn of_clone(seen: &Observed) -> Option<TransferMode> {
    let clone = seen.population.as_ref().and_then(|population| population.clone.as_deref());
    let pod = seen.target_pod.as_ref().or_else(|| clone?.target_pod.as_ref());
    match pod {
        Some(pod) if pod.is_direct() => Some(TransferMode::Direct),
        Some(_) => Some(TransferMode::Network),
        None => clone?.target_annotation(TRANSFER_MODE).and_then(TransferMode::of),
    }
}

/// The wish for the clone in `seen`: its own, else the operator's.
pub(crate) fn wish(seen: &Observed, policy: &Policy) -> Transfer {
    match seen.target_annotation(TRANSFER) {
        Some("direct") => Transfer::Direct,
        Some("network") => Transfer::Network,
        Some("auto") => Transfer::Auto,
        _ => policy.transfer,
    }
}

/// How the bytes travel. Pods that exist decide. Without pods, a clone is direct if both claims are in one namespace; with
/// [`Transfer::Auto`], unless a direct pod found no node, or it is known that it would find none.
pub(crate) fn mode(seen: &Observed, policy: &Policy) -> TransferMode {
    if let Some(pod) = &seen.target_pod {
        return if pod.is_direct() { TransferMode::Direct } else { TransferMode::Network };
    }
    let is_possible = is_in_one_namespace(seen) && seen.source_pod.is_none();
    let is_wanted = match wish(seen, policy) {
        Transfer::Network => false,
        Transfer::Direct => true,
        Transfer::Auto => !has_fallen_back(seen) && seen.placement_obstacle.is_none(),
    };
    if is_possible && is_wanted { TransferMode::Direct } else { TransferMode::Network }
}

/// Whether a direct pod found no node, or lost it.
pub(crate) fn has_fallen_back(seen: &Observed) -> bool {
    seen.target_annotation(TRANSFER_FALLBACK).is_some()
}

/// Whether source and target are in one namespace, so that one pod can mount both.
pub(crate) fn is_in_one_namespace(seen: &Observed) -> bool {
    match (&seen.target, seen.source_key()) {
        (Some(target), Some(source)) => target.metadata.namespace == source.namespace,
        _ => false,
    }
}
