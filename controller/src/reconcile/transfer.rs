//! How the bytes of a clone travel: in one pod that mounts both volumes, or between two pods over the network
//! (docs/decisions/0014-direct-clones.md).

use crate::objects::annotations::{TRANSFER, TRANSFER_FALLBACK};
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

/// How the bytes travel. Pods that exist decide; without pods, a clone is direct if both claims are in one namespace,
/// unless a direct pod found no node.
pub(crate) fn mode(seen: &Observed, policy: &Policy) -> TransferMode {
    if let Some(pod) = &seen.target_pod {
        return if pod.is_direct() { TransferMode::Direct } else { TransferMode::Network };
    }
    let is_possible = is_in_one_namespace(seen) && seen.source_pod.is_none();
    let is_wanted = match wish(seen, policy) {
        Transfer::Network => false,
        Transfer::Direct => true,
        Transfer::Auto => seen.target_annotation(TRANSFER_FALLBACK).is_none(),
    };
    if is_possible && is_wanted { TransferMode::Direct } else { TransferMode::Network }
}

/// Whether one pod can mount source and target.
pub(crate) fn is_in_one_namespace(seen: &Observed) -> bool {
    match (&seen.target, seen.source_key()) {
        (Some(target), Some(source)) => target.metadata.namespace == source.namespace,
        _ => false,
    }
}
