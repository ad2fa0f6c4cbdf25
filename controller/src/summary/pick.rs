//! Selects the clones to show: those that run or wait, and those that ended last. The number is limited.

use std::borrow::Borrow;
use std::cmp::Reverse;

use crate::objects::{Claim, ConditionType, DataVolume, Meta};
use crate::reconcile::last_error;
use crate::summary::claim_summary::is_clone;
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

/// The object that reports a clone.
#[derive(Clone, Copy)]
enum CloneReport<'a> {
    DataVolume(&'a DataVolume),
    /// A PVC without a DataVolume.
    Claim(&'a Claim),
}

impl CloneReport<'_> {
    fn meta(&self) -> &Meta {
        match self {
            Self::DataVolume(dv) => &dv.metadata,
            Self::Claim(claim) => &claim.metadata,
        }
    }

    fn state(&self) -> CloneState {
        match self {
            Self::DataVolume(dv) => CloneState::of(dv),
            Self::Claim(claim) => CloneState::of_claim(claim),
        }
    }

    /// When the clone ended, for the order; of a PVC, when it was created.
    fn ended(&self) -> &str {
        match self {
            Self::DataVolume(dv) => ended(dv),
            Self::Claim(claim) => &claim.metadata.creation_timestamp,
        }
    }

    fn summary(&self) -> Option<CloneSummary> {
        match self {
            Self::DataVolume(dv) => CloneSummary::of(dv),
            Self::Claim(claim) => CloneSummary::of_claim(claim),
        }
    }

    /// An object that is being deleted is shown only if an error delays that.
    fn is_shown(&self) -> bool {
        match self {
            Self::DataVolume(dv) => !dv.metadata.is_deleting() || has_trouble(dv),
            Self::Claim(claim) => is_clone(claim) && !claim.metadata.is_deleting(),
        }
    }
}

/// At most `open_max` open clones and `recent_max` ended clones of DataVolumes. Only those are summarized.
pub fn pick<D: Borrow<DataVolume>>(all: &[D], open_max: usize, recent_max: usize) -> Picked {
    pick_with_claims::<D, Claim>(all, &[], open_max, recent_max)
}

/// Like [`pick`], also from the PVCs that are filled without a DataVolume. `claims` may contain others.
pub fn pick_with_claims<D: Borrow<DataVolume>, C: Borrow<Claim>>(
    data_volumes: &[D],
    claims: &[C],
    open_max: usize,
    recent_max: usize,
) -> Picked {
    let data_volumes = data_volumes.iter().map(|dv| CloneReport::DataVolume(dv.borrow()));
    let claims = claims.iter().map(|claim| CloneReport::Claim(claim.borrow()));
    let all: Vec<CloneReport<'_>> = data_volumes.chain(claims).filter(CloneReport::is_shown).collect();
    let mut open: Vec<(CloneState, CloneReport<'_>)> =
        all.iter().map(|one| (one.state(), *one)).filter(|(state, _)| !state.is_final()).collect();
    let name = |one: &CloneReport<'_>| (one.meta().namespace.clone(), one.meta().name.clone());
    open.sort_by_cached_key(|(state, one)| (*state, name(one)));
    let mut recent: Vec<CloneReport<'_>> = all.into_iter().filter(|one| one.state().is_final()).collect();
    recent.sort_by_cached_key(|one| (Reverse(one.ended().to_owned()), name(one)));
    let shown: Vec<CloneSummary> = open.iter().filter_map(|(_, one)| one.summary()).take(open_max).collect();
    let more_open = if shown.len() < open_max {
        0
    } else {
        // DataVolumes that are not clones are rare: an exact count is not worth decoding thousands of them.
        open.len() - shown.len()
    };
    Picked {
        open: shown,
        recent: recent.iter().filter_map(CloneReport::summary).take(recent_max).collect(),
        more_open,
    }
}

fn has_trouble(dv: &DataVolume) -> bool {
    dv.status.condition(ConditionType::Running).is_some_and(|running| last_error::is_reason(&running.reason))
}
