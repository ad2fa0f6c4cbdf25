//! Clones that stand still, and pods of clones that do not start.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use crate::doctor::controller::trouble;
use crate::doctor::{Check, Installation};
use crate::session::list;
use crate::untold::{Untold, unwritten, without_data_volume};
use decant_controller::api::cluster::{ApiError, ListParams};
use decant_controller::objects::annotations::{APP, APP_VALUE};
use decant_controller::objects::{DataVolume, Key, Kind, Meta, Pod};
use decant_controller::summary::advice::{GENERAL, advice};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};
use decant_controller::summary::complaint::{Complaint, is_old};

/// More than these are a count.
const SHOWN: usize = 20;

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    let session = installation.session;
    let (all, pods, scope) = match everything(installation) {
        Ok(found) => found,
        // Without the definition there are no clones; that was said already.
        Err(e) if e.is_not_found() => return vec![Check::note("clones", "there can be none")],
        Err(e) => return vec![Check::unseen("clones", &e)],
    };
    let unwritten = unwritten(session, &scope, &all);
    let mut more: Vec<Check> = unwritten.iter().map(|(key, untold)| refused("clone", key, untold)).collect();
    let others = without_data_volume(session, &scope, &all, &pods);
    more.extend(others.iter().map(|((kind, key), untold)| refused(kind, key, untold)));
    judge(&all, &pods, more, &session.namespace, OffsetDateTime::now_utc())
}

fn refused(kind: &str, key: &Key, Untold { reason, message }: &Untold) -> Check {
    let help = advice(reason).map_or(GENERAL, |advice| advice.helps);
    Check::fail(format!("{kind} {key}"), format!("{reason}: {message}"), help)
}

/// Of all namespaces, or of the session's where that is all that may be seen; and which of both.
fn everything(installation: &Installation<'_>) -> Result<(Vec<DataVolume>, Vec<Pod>, ListParams), ApiError> {
    let session = installation.session;
    let both = |scope: ListParams| {
        let pods = ListParams { labels: format!("{APP}={APP_VALUE}"), ..scope.clone() };
        let all = list(&session.cluster, Kind::DataVolume, &scope)?.0;
        Ok((all, list(&session.cluster, Kind::Pod, &pods)?.0, scope))
    };
    match both(session.scope(true)) {
        Err(ApiError { code: 403, .. }) => both(session.scope(false)),
        found => found,
    }
}

/// What is in the namespace `first` comes first. `more` is what DataVolumes cannot tell.
fn judge(all: &[DataVolume], pods: &[Pod], more: Vec<Check>, first: &str, now: OffsetDateTime) -> Vec<Check> {
    let mut clones: Vec<(&DataVolume, CloneSummary)> =
        all.iter().filter_map(|dv| Some((dv, CloneSummary::of(dv)?))).collect();
    clones.sort_by_key(|(_, seen)| seen.namespace != first);
    let mut checks = more;
    let complaint = |(dv, seen): &(&DataVolume, CloneSummary)| {
        let complaint = Complaint::of(dv, seen, now)?;
        Some(Check::fail(format!("clone {}", seen.key()), complaint.found, complaint.helps))
    };
    // Of one whose status cannot be written its status is not the truth.
    let told: BTreeSet<String> = checks.iter().map(|check| check.about.clone()).collect();
    checks.extend(clones.iter().filter_map(complaint).filter(|check| !told.contains(&check.about)));
    checks.extend(pods.iter().filter(|pod| is_old(&pod.metadata.creation_timestamp, now)).filter_map(pod));
    let more = checks.len().saturating_sub(SHOWN);
    checks.truncate(SHOWN);
    if more > 0 {
        checks.push(Check::fail(
            "clones",
            format!("{more} more stand still"),
            "see `kubectl decant status -A`",
        ));
    }
    if checks.is_empty() {
        let count = |state| clones.iter().filter(|(_, seen)| seen.state == state).count();
        let (run, wait) = (count(CloneState::Running), count(CloneState::Waiting));
        checks.push(Check::ok(
            "clones",
            format!("{} in all, {run} run, {wait} wait, none stands still", clones.len()),
        ));
    }
    checks
}

fn pod(pod: &Pod) -> Option<Check> {
    let Meta { namespace, name, .. } = &pod.metadata;
    let help = format!("see `kubectl -n {namespace} describe pod {name}`");
    trouble(pod).map(|why| Check::fail(format!("pod {}", pod.metadata.key()), why, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State as Health;
    use serde_json::{Value, json};
    use time::format_description::well_known::Rfc3339;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn clone(status: &Value) -> DataVolume {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "copy", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } } },
            "status": status,
        }))
        .unwrap()
    }

    fn judged(status: &Value) -> Vec<Check> {
        judge(&[clone(status)], &[], Vec::new(), "n", OffsetDateTime::parse(NOW, &Rfc3339).unwrap())
    }

    fn waits(reason: &str) -> Value {
        json!({ "phase": "CloneScheduled", "conditions": [{ "type": "Running", "status": "False", "reason": reason, "message": "m" }] })
    }

    #[test]
    fn a_clone_that_stands_still_is_named_with_what_helps() {
        let checks = judged(&waits("CloneSourceInUse"));
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].state, checks[0].about.as_str()), (Health::Fail, "clone n/copy"));
        assert!(checks[0].help.contains("end the pods"), "{checks:?}");
    }

    #[test]
    fn reasons_that_no_table_has_are_told_with_the_message_and_general_advice() {
        let checks = judged(&waits("NodeAffinity"));
        assert_eq!((checks[0].state, checks[0].found.as_str()), (Health::Fail, "NodeAffinity: m"));
        assert_eq!(checks[0].help, GENERAL);
    }

    #[test]
    fn what_is_usual_at_the_beginning_is_told_when_it_lasts() {
        for reason in ["ContainerCreating", "Pending", ""] {
            let mut status = waits(reason);
            for (since, state) in
                [("2026-01-01T00:58:59Z", Health::Fail), ("2026-01-01T00:59:30Z", Health::Ok)]
            {
                status["conditions"][0]["lastHeartbeatTime"] = since.into();
                assert_eq!(judged(&status)[0].state, state, "{reason:?} since {since}");
            }
        }
    }

    #[test]
    fn the_first_reason_that_is_known_of_two_gives_the_advice() {
        for first in ["NodeAffinity", "ContainerCreating"] {
            let checks = judged(&waits(&format!("{first} and ErrExceededQuota")));
            assert!(checks[0].help.contains("raise the quota"), "{checks:?}");
        }
    }

    #[test]
    fn a_clone_with_an_unwritable_status_does_not_count_as_overlooked() {
        let untold = Untold { reason: "ErrWritingStatus".to_owned(), message: "no".to_owned() };
        let more = vec![refused("clone", &Key::new("n", "copy"), &untold)];
        let now = OffsetDateTime::parse(NOW, &Rfc3339).unwrap();
        let checks = judge(&[clone(&json!({}))], &[], more, "n", now);
        assert_eq!(checks.len(), 1);
        assert!(checks[0].found.contains("ErrWritingStatus: no"), "{checks:?}");
    }

    #[test]
    fn who_waits_for_his_turn_is_well() {
        for status in [waits("Queued"), waits("ContainerCreating"), json!({ "phase": "Succeeded" })] {
            assert!(judged(&status).iter().all(|check| check.state == Health::Ok), "{status}");
        }
    }

    #[test]
    fn a_clone_without_a_controller_is_reported() {
        assert!(judged(&json!({}))[0].found.contains("no controller has looked"));
    }

    #[test]
    fn many_stuck_clones_are_a_count_and_the_own_namespace_comes_first() {
        let mut all: Vec<DataVolume> = (0..99).map(|_| clone(&waits("Unschedulable"))).collect();
        all.push(clone(&waits("Unschedulable")));
        all[99].metadata.namespace = "mine".to_owned();
        let checks = judge(&all, &[], Vec::new(), "mine", OffsetDateTime::parse(NOW, &Rfc3339).unwrap());
        assert_eq!(checks.len(), SHOWN + 1);
        assert!(checks[SHOWN].found.starts_with("80 more"));
        assert_eq!(checks[0].about, "clone mine/copy");
    }
}
