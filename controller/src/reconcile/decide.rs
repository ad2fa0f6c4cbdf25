//! Decides what to do about one key: a pure function of the observation and the time.
//!
//! `rules` finds the row of the tables in `docs/protocol.md` section 7 that applies. [`decide`] adds what follows from
//! it: the actions in their order, the status, the events, and when to observe again. Each action can safely be
//! repeated, so a controller that ends between any two of them does no harm.

use std::time::Duration;

use time::OffsetDateTime;

use crate::objects::DataVolumePhase;
use crate::objects::data_volume::DataVolumeStatus;
use crate::policy::Policy;
use crate::reconcile::actions;
use crate::reconcile::actions::Action;
use crate::reconcile::events::Event;
use crate::reconcile::observed::Observed;
use crate::reconcile::rules;
use crate::reconcile::status::conditions;
use crate::reconcile::status::running::RunningConditions;
use crate::reconcile::step::SlotAction;
use crate::reconcile::step::Step;
use crate::reconcile::{events, status};

/// The decision that follows from one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The row of the table.
    pub step: Step,
    /// What happens to the clone's slot, before any action.
    pub slot: SlotAction,
    /// The actions, in order. See `Executor::carry_out` for what a failure does to those after it.
    pub actions: Vec<Action>,
    /// Events about the DataVolume; they are reported before the status is written.
    pub events: Vec<Event>,
    /// Events about the target claim; they are reported before the actions.
    pub claim_events: Vec<Event>,
    /// The status that the DataVolume should have; `None` without a DataVolume, or when another controller writes it.
    pub status: Option<DataVolumeStatus>,
    /// When to observe again although nothing changed.
    pub again: Option<Duration>,
}

impl Decision {
    /// Whether this decision changes the phase of the DataVolume to Succeeded.
    pub fn completes(&self, seen: &Observed) -> bool {
        let (Some(dv), Some(new)) = (&seen.data_volume, &self.status) else { return false };
        new.phase == DataVolumePhase::Succeeded && dv.status.phase != DataVolumePhase::Succeeded
    }
}

/// Decides what to do about one key.
pub fn decide(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Decision {
    let step = rules::step(seen, now, policy);
    let pod_conditions = conditions_of_pods(&step, seen, now, policy);
    let status = seen.data_volume.as_ref().and_then(|dv| {
        let new = if dv.metadata.is_deleting() {
            // A DataVolume that is being deleted reports only what prevents the deletion.
            seen.last_error.as_ref().map(|last_error| conditions::with_last_error(&dv.status, last_error))
        } else {
            status::status(&step, seen, &pod_conditions, policy)
        };
        new.map(|new| status::with_times(new, &dv.status, now))
    });
    let events = events::events(&step, seen, status.as_ref());
    let claim_events = events::about_claim(&step, seen, &pod_conditions);
    let slot = actions::slot_action(&step);
    let actions = actions::actions(&step, seen, &pod_conditions);
    let again = rules::again(&step, policy, seen);
    Decision { step, slot, actions, events, claim_events, status, again }
}

/// The conditions of the clone's pods. While a prime is filled, they are those of the clone into the prime.
fn conditions_of_pods(
    step: &Step,
    seen: &Observed,
    now: OffsetDateTime,
    policy: &Policy,
) -> RunningConditions {
    let own = RunningConditions::of(step, seen, now);
    let clone = seen.population.as_ref().and_then(|population| population.clone.as_deref());
    match clone.filter(|_| *step == Step::Populating) {
        Some(clone) => RunningConditions::of(&rules::step(clone, now, policy), clone, now).or(own),
        None => own,
    }
}
