//! Selects the clones to show: those that run or wait, and those that ended last. The number is limited.

use std::borrow::Borrow;

use crate::objects::{ConditionType, DataVolume};
use crate::reconcile::last_error;
use crate::summary::clone_summary::{CloneState, CloneSummary, ended};

/// The clones to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picked {
    /// Running, then waiting, by namespace and name.
    pub open: Vec<CloneSummary>,
    /// Clones that ended, the latest first.
    pub recent: Vec<CloneSummary>,
    /// The number of further open clones.
    pub more_open: usize,
}

/// At most `open_max` open clones and `recent_max` ended clones. Only those are summarized.
pub fn pick<D: Borrow<DataVolume>>(all: &[D], open_max: usize, recent_max: usize) -> Picked {
    // A DataVolume that is being deleted is shown only if an error delays that.
    let is_shown = |dv: &&DataVolume| !dv.metadata.is_deleting() || has_trouble(dv);
    let all = || all.iter().map(Borrow::borrow).filter(is_shown);
    let mut open: Vec<(CloneState, &DataVolume)> =
        all().map(|dv| (CloneState::of(dv), dv)).filter(|(state, _)| !state.is_final()).collect();
    let name = |dv: &'_ DataVolume| (dv.metadata.namespace.clone(), dv.metadata.name.clone());
    open.sort_by_cached_key(|(state, dv)| (*state, name(dv)));
    let mut recent: Vec<&DataVolume> = all().filter(|dv| CloneState::of(dv).is_final()).collect();
    recent.sort_by_cached_key(|dv| (std::cmp::Reverse(ended(dv).to_owned()), name(dv)));
    let shown: Vec<CloneSummary> =
        open.iter().filter_map(|(_, dv)| CloneSummary::of(dv)).take(open_max).collect();
    let more_open = if shown.len() < open_max {
        0
    } else {
        // DataVolumes that are not clones are rare: an exact count is not worth decoding thousands of them.
        open.len() - shown.len()
    };
    Picked {
        open: shown,
        recent: recent.into_iter().filter_map(CloneSummary::of).take(recent_max).collect(),
        more_open,
    }
}

fn has_trouble(dv: &DataVolume) -> bool {
    dv.status.condition(ConditionType::Running).is_some_and(|running| last_error::is_reason(&running.reason))
}
