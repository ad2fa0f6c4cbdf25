//! Finds clones that do not continue, and pods of clones that do not start.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::doctor::controller::trouble;
use crate::doctor::{Check, Installation};
use crate::session::{Session, list};
use crate::unreported::{UnreportedError, errors_without_data_volume, status_errors};
use decant_controller::api::cluster::{ApiError, ListParams};
use decant_controller::objects::annotations::{APP, APP_VALUE};
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Meta, Pod, PopulatorKind};
use decant_controller::pods::role::is_ours;
use decant_controller::summary::advice::{GENERAL, advice};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};
use decant_controller::summary::complaint::{Complaint, is_old};

/// Failures to print; the others are counted.
const SHOWN: usize = 20;

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    match CloneEvidence::collect(installation) {
        Ok(evidence) => judge(&evidence, &installation.session.namespace, OffsetDateTime::now_utc()),
        // Without the definition there are no clones; the check of the definitions reports it.
        Err(e) if e.is_not_found() => vec![Check::note("clones", "there can be none")],
        Err(e) => vec![Check::unreadable("clones", &e)],
    }
}

#[derive(Default)]
struct CloneEvidence {
    data_volumes: Vec<DataVolume>,
    /// PVCs, also those that are not clones.
    claims: Vec<Claim>,
    pods: Vec<Pod>,
    /// Errors of DataVolumes whose status cannot be written, so that it is outdated.
    status_errors: BTreeMap<Key, UnreportedError>,
    /// Errors of PVCs and pods without a DataVolume, by kind and key.
    other_errors: BTreeMap<(&'static str, Key), UnreportedError>,
}

impl CloneEvidence {
    /// The evidence of all namespaces, or of the session's namespace if the user may not read the others.
    fn collect(installation: &Installation<'_>) -> Result<Self, ApiError> {
        let session = installation.session;
        let is_beside_cdi = installation.is_beside_cdi;
        match Self::collect_in(session, &session.scope(true), is_beside_cdi) {
            Err(ApiError { code: 403, .. }) => {
                Self::collect_in(session, &session.scope(false), is_beside_cdi)
            }
            found => found,
        }
    }

    /// Beside CDI, DataVolumes and other PVCs than those with a CloneSource are CDI's.
    fn collect_in(session: &Session, scope: &ListParams, is_beside_cdi: bool) -> Result<Self, ApiError> {
        let ours = ListParams { labels: format!("{APP}={APP_VALUE}"), ..scope.clone() };
        let data_volumes = match is_beside_cdi {
            true => Vec::new(),
            false => list(&session.cluster, Kind::DataVolume, scope)?.0,
        };
        let mut pods: Vec<Pod> = list(&session.cluster, Kind::Pod, &ours)?.0;
        // Users who may not list PVCs see the clones of DataVolumes.
        let claims = list(&session.cluster, Kind::PersistentVolumeClaim, scope);
        let mut claims: Vec<Claim> = claims.map(|(claims, _)| claims).unwrap_or_default();
        if is_beside_cdi {
            let is_own =
                |claim: &Claim| claim.populator().is_some_and(|by| by.kind == PopulatorKind::CloneSource);
            claims.retain(is_own);
            pods.retain(|pod| is_ours(&pod.metadata));
        }
        Ok(Self {
            status_errors: status_errors(session, scope, &data_volumes),
            other_errors: errors_without_data_volume(session, scope, &data_volumes, &claims, &pods),
            data_volumes,
            claims,
            pods,
        })
    }
}

fn refused(kind: &str, key: &Key, UnreportedError { reason, message }: &UnreportedError) -> Check {
    let help = advice(reason).map_or(GENERAL, |advice| advice.helps);
    Check::fail(format!("{kind} {key}"), format!("{reason}: {message}"), help)
}

/// The checks of all clones, those in the namespace `first` first.
fn judge(evidence: &CloneEvidence, first: &str, now: OffsetDateTime) -> Vec<Check> {
    let mut clones: Vec<(&DataVolume, CloneSummary)> =
        evidence.data_volumes.iter().filter_map(|dv| Some((dv, CloneSummary::of(dv)?))).collect();
    clones.sort_by_key(|(_, seen)| seen.namespace != first);
    let mut checks: Vec<Check> =
        evidence.status_errors.iter().map(|(key, error)| refused("clone", key, error)).collect();
    checks.extend(evidence.other_errors.iter().map(|((kind, key), error)| refused(kind, key, error)));
    for (dv, seen) in clones.iter().filter(|(_, seen)| !evidence.status_errors.contains_key(&seen.key())) {
        let complaint = Complaint::of(dv, seen, now);
        checks.extend(
            complaint.map(|complaint| {
                Check::fail(format!("clone {}", seen.key()), complaint.found, complaint.helps)
            }),
        );
    }
    let by_claim = evidence.claims.iter().filter_map(CloneSummary::of_claim);
    let mut by_claim: Vec<CloneSummary> = by_claim.collect();
    by_claim.sort_by_key(|seen| seen.namespace != first);
    for seen in by_claim.iter().filter(|seen| !evidence.other_errors.contains_key(&("PVC", seen.key()))) {
        let complaint = Complaint::of_claim(seen, now);
        checks.extend(complaint.map(|complaint| {
            Check::fail(format!("clone pvc {}", seen.key()), complaint.found, complaint.helps)
        }));
    }
    let old_pods = evidence.pods.iter().filter(|pod| is_old(&pod.metadata.creation_timestamp, now));
    checks.extend(old_pods.filter_map(pod));
    let more = checks.len().saturating_sub(SHOWN);
    checks.truncate(SHOWN);
    if more > 0 {
        checks.push(Check::fail(
            "clones",
            format!("{more} more do not continue"),
            "see `kubectl decant status -A`",
        ));
    }
    if checks.is_empty() {
        let all = || clones.iter().map(|(_, seen)| seen).chain(&by_claim);
        let count = |state| all().filter(|seen| seen.state == state).count();
        let running = count(CloneState::Running);
        let waiting = count(CloneState::Waiting);
        checks.push(Check::ok(
            "clones",
            format!("{} found, {running} running, {waiting} waiting, no problems", all().count()),
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
        let evidence = CloneEvidence { data_volumes: vec![clone(status)], ..CloneEvidence::default() };
        judge(&evidence, "n", OffsetDateTime::parse(NOW, &Rfc3339).unwrap())
    }

    fn waits(reason: &str) -> Value {
        json!({ "phase": "CloneScheduled", "conditions": [{ "type": "Running", "status": "False", "reason": reason, "message": "m" }] })
    }

    #[test]
    fn a_blocked_clone_is_named_with_advice() {
        let checks = judged(&waits("CloneSourceInUse"));
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].state, checks[0].about.as_str()), (Health::Fail, "clone n/copy"));
        assert!(checks[0].help.contains("stop the pods"), "{checks:?}");
    }

    #[test]
    fn unknown_reasons_have_their_message_and_general_advice() {
        let checks = judged(&waits("NodeAffinity"));
        assert_eq!((checks[0].state, checks[0].found.as_str()), (Health::Fail, "NodeAffinity: m"));
        assert_eq!(checks[0].help, GENERAL);
    }

    #[test]
    fn usual_reasons_are_reported_after_a_minute() {
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
    fn the_first_known_reason_gives_the_advice() {
        for first in ["NodeAffinity", "ContainerCreating"] {
            let checks = judged(&waits(&format!("{first} and ErrExceededQuota")));
            assert!(checks[0].help.contains("raise the quota"), "{checks:?}");
        }
    }

    #[test]
    fn a_clone_with_an_unwritable_status_does_not_count_as_overlooked() {
        let error = UnreportedError { reason: "ErrWritingStatus".to_owned(), message: "no".to_owned() };
        let evidence = CloneEvidence {
            data_volumes: vec![clone(&json!({}))],
            status_errors: BTreeMap::from([(Key::new("n", "copy"), error)]),
            ..CloneEvidence::default()
        };
        let checks = judge(&evidence, "n", OffsetDateTime::parse(NOW, &Rfc3339).unwrap());
        assert_eq!(checks.len(), 1);
        assert!(checks[0].found.contains("ErrWritingStatus: no"), "{checks:?}");
    }

    fn judged_claim(annotations: &Value) -> Vec<Check> {
        let claim = serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "copy", "creationTimestamp": "2026-01-01T00:00:00Z",
                          "annotations": annotations },
            "spec": { "dataSourceRef": { "apiGroup": "decant.dev", "kind": "CloneSource", "name": "golden" } },
        }))
        .unwrap();
        let evidence = CloneEvidence { claims: vec![claim], ..CloneEvidence::default() };
        judge(&evidence, "n", OffsetDateTime::parse(NOW, &Rfc3339).unwrap())
    }

    #[test]
    fn a_claim_without_a_data_volume_is_checked_like_one() {
        use decant_controller::objects::annotations::{
            CLONE_ERROR, CLONE_PHASE, RUNNING_MESSAGE, RUNNING_REASON,
        };
        let blocked = json!({ CLONE_PHASE: "Error", CLONE_ERROR: "m", RUNNING_REASON: "NoProvisioner", RUNNING_MESSAGE: "m" });
        let checks = judged_claim(&blocked);
        assert_eq!(
            (checks[0].about.as_str(), checks[0].found.as_str()),
            ("clone pvc n/copy", "NoProvisioner: m")
        );
        assert!(checks[0].help.contains("CSI driver"), "{checks:?}");
        assert!(judged_claim(&json!({}))[0].found.contains("no controller has processed"));
        let waits = judged_claim(&json!({ CLONE_PHASE: "Pending" }));
        assert_eq!(waits[0].found, "1 found, 0 running, 1 waiting, no problems");
    }

    #[test]
    fn a_queued_clone_is_not_a_failure() {
        for status in [waits("Queued"), waits("ContainerCreating"), json!({ "phase": "Succeeded" })] {
            assert!(judged(&status).iter().all(|check| check.state == Health::Ok), "{status}");
        }
    }

    #[test]
    fn a_clone_without_a_controller_is_reported() {
        assert!(judged(&json!({}))[0].found.contains("no controller has processed"));
    }

    #[test]
    fn many_failures_are_counted_and_the_own_namespace_comes_first() {
        let mut all: Vec<DataVolume> = (0..99).map(|_| clone(&waits("Unschedulable"))).collect();
        all.push(clone(&waits("Unschedulable")));
        all[99].metadata.namespace = "mine".to_owned();
        let evidence = CloneEvidence { data_volumes: all, ..CloneEvidence::default() };
        let checks = judge(&evidence, "mine", OffsetDateTime::parse(NOW, &Rfc3339).unwrap());
        assert_eq!(checks.len(), SHOWN + 1);
        assert!(checks[SHOWN].found.starts_with("80 more"));
        assert_eq!(checks[0].about, "clone mine/copy");
    }
}
