//! The metrics of the controller. `docs/operations.md` explains each series.

use std::collections::BTreeMap;

use decant_shared::protocol::prometheus::{MetricKind, MetricsPage, NameError, SampleValue};
use decant_shared::protocol::units::Rate;

use crate::api::client::KubeCluster;
use crate::api::counted::Counted;
use crate::objects::annotations::{CLONE_PHASE, POD_RESTARTS};
use crate::objects::{Checked, DataVolume, DataVolumePhase};
use crate::pages::health::HealthState;
use crate::pages::populated;
use crate::progress::poller::PollOutcome;
use crate::reconcile::reconciler::Reconciler;
use crate::reconcile::transfer::TransferMode;
use crate::summary::claim_summary::is_clone;
use crate::summary::clone_summary::CloneState;
use crate::watch::unreadable::KINDS;

/// The values of the annotation with the phase of a clone.
const CLONE_PHASES: [&str; 5] = ["Pending", "HostClone", "Rebind", "Succeeded", "Error"];

/// The current page.
pub(super) fn page(health: &HealthState) -> Result<String, NameError> {
    let mut page = MetricsPage::new();
    build(&mut page)?;
    page.family(
        "decant_leader",
        "1 if this replica is the leader, 0 if it is a standby.",
        MetricKind::Gauge,
    )?
    .sample(&[], u64::from(health.is_leader()))?;
    calls(&mut page, health.calls())?;
    if let Some(reconciler) = health.reconciler() {
        work(&mut page, &reconciler)?;
        unreadable(&mut page, &reconciler)?;
        authorities(&mut page, &reconciler)?;
        data_volumes(&mut page, &reconciler)?;
        populated_claims(&mut page, &reconciler)?;
        restarts(&mut page, &reconciler)?;
        clones(&mut page, &reconciler)?;
        bandwidth(&mut page, &reconciler)?;
    }
    Ok(page.render())
}

/// The page of a process that only serves the webhook.
pub(super) fn page_of_calls(counted: &Counted<KubeCluster>) -> Result<String, NameError> {
    let mut page = MetricsPage::new();
    build(&mut page)?;
    calls(&mut page, counted)?;
    Ok(page.render())
}

fn build(page: &mut MetricsPage) -> Result<(), NameError> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("decant_build_info", "Always 1; the label is the version.", MetricKind::Gauge)?
        .sample(&version, 1)
        .map(drop)
}

fn calls(page: &mut MetricsPage, counted: &Counted<KubeCluster>) -> Result<(), NameError> {
    let help = "Calls to the API server; code 0 means no response.";
    let mut family = page.family("decant_api_calls_total", help, MetricKind::Counter)?;
    for (call, count) in counted.calls() {
        let code = call.code.to_string();
        family.sample(&[("verb", call.verb), ("resource", &call.resource()), ("code", &code)], count)?;
    }
    Ok(())
}

fn work(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let (depth, overdue) = reconciler.queue.depth();
    let mut gauge = |name: &str, help: &str, value: SampleValue| {
        page.family(name, help, MetricKind::Gauge).and_then(|mut family| family.sample(&[], value))
    };
    gauge("decant_queue_depth", "Keys in the work queue, due now or later.", count(depth))?;
    gauge("decant_queue_overdue_seconds", "For how long the first key has been due.", overdue.into())?;
    let (running, waiting) = reconciler.observer.scheduler.counts();
    gauge("decant_clones_running", "Clones that have pods.", count(running))?;
    gauge("decant_clones_waiting", "Clones that wait for their turn.", count(waiting))?;
    let readings = &reconciler.pollers.readings;
    let direct = readings.direct_len();
    let help =
        "Clones that copy now, by how their bytes travel: in one pod (direct) or between two (network).";
    let mut copying = page.family("decant_clones_copying", help, MetricKind::Gauge)?;
    copying.sample(&[("transfer", TransferMode::Direct.as_str())], count(direct))?;
    copying.sample(
        &[("transfer", TransferMode::Network.as_str())],
        count(readings.len().saturating_sub(direct)),
    )?;
    let mut rounds =
        page.family("decant_rounds_total", "Reconciliations of one clone, by result.", MetricKind::Counter)?;
    let (well, badly) = reconciler.rounds.counts();
    rounds.sample(&[("result", "ok")], well)?;
    rounds.sample(&[("result", "error")], badly)?;
    rounds.sample(&[("result", "panic")], reconciler.rounds.panics())?;
    let mut scrapes = page.family(
        "decant_scrapes_total",
        "Progress polls of source pods, by result.",
        MetricKind::Counter,
    )?;
    for outcome in PollOutcome::ALL {
        scrapes.sample(&[("result", outcome.name())], reconciler.pollers.outcomes.count(outcome))?;
    }
    Ok(())
}

/// Objects that cannot be read, by kind.
fn unreadable(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let help = "Objects that cannot be read now; each has an event with the reason.";
    let mut family = page.family("decant_unreadable_objects", help, MetricKind::Gauge)?;
    for kind in KINDS {
        family.sample(&[("resource", kind.plural())], reconciler.unreadable.counts(kind).0)?;
    }
    let help = "Versions of objects that could not be read.";
    let mut family = page.family("decant_unreadable_versions_total", help, MetricKind::Counter)?;
    for kind in KINDS {
        family.sample(&[("resource", kind.plural())], reconciler.unreadable.counts(kind).1)?;
    }
    Ok(())
}

fn authorities(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let help = "When a certificate authority of pods expires, in seconds since 1970; it is renewed half a year before.";
    let mut family = page.family("decant_authority_expiry_timestamp_seconds", help, MetricKind::Gauge)?;
    for (name, end) in reconciler.executor.pki().ends() {
        family.sample(&[("authority", name)], u64::try_from(end.unix_timestamp()).unwrap_or_default())?;
    }
    Ok(())
}

fn data_volumes(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    let mut pending = 0;
    for dv in reconciler.observer.stores.data_volumes.all() {
        *phases.entry(dv.status.phase.to_string()).or_default() += 1;
        pending += u64::from(relies_on_default_class(&dv));
    }
    let mut family = page.family("decant_datavolumes", "DataVolumes by phase.", MetricKind::Gauge)?;
    for (phase, count) in phases {
        family.sample(&[("phase", &phase)], count)?;
    }
    // CDI's alert about a missing default class is written for this name (docs/protocol.md section 4.11).
    let help = "DataVolumes that are pending and rely on a default storage class.";
    page.family("kubevirt_cdi_datavolume_pending", help, MetricKind::Gauge)?.sample(&[], pending)
}

fn populated_claims(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    for claim in reconciler.observer.stores.claims.all().iter().filter(|claim| is_clone(claim)) {
        let phase = claim.metadata.annotation(CLONE_PHASE).unwrap_or_default();
        // Users can write the annotation.
        let phase = CLONE_PHASES.into_iter().find(|known| *known == phase).unwrap_or_default();
        *phases.entry(phase.to_owned()).or_default() += 1;
    }
    let help = "PVCs that are filled without a DataVolume, by phase of the clone.";
    let mut family = page.family("decant_populated_pvcs", help, MetricKind::Gauge)?;
    for (phase, count) in phases {
        family.sample(&[("phase", &phase)], count)?;
    }
    Ok(())
}

fn relies_on_default_class(dv: &DataVolume) -> bool {
    let spec = dv.spec.pvc.as_ref().or(dv.spec.storage.as_ref());
    matches!(dv.status.phase, DataVolumePhase::Unset | DataVolumePhase::Pending)
        && spec.and_then(Checked::good).is_some_and(|spec| spec.storage_class_name.is_none())
}

/// Each clone whose pods restarted or were replaced, until it is complete.
fn restarts(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let help =
        "How often pods of an unfinished clone restarted or were replaced; absent until the first time.";
    let mut family = page.family("decant_clone_restarts", help, MetricKind::Gauge)?;
    for dv in reconciler.observer.stores.data_volumes.all() {
        let restarts = u64::try_from(dv.status.restart_count).unwrap_or_default();
        if restarts > 0 && !dv.status.phase.is_final() {
            let metadata = &dv.metadata;
            family.sample(&[("namespace", &metadata.namespace), ("name", &metadata.name)], restarts)?;
        }
    }
    for claim in reconciler.observer.stores.claims.all().iter().filter(|claim| is_clone(claim)) {
        let metadata = &claim.metadata;
        let restarts =
            metadata.annotation(POD_RESTARTS).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        if restarts > 0 && !CloneState::of_claim(claim).is_final() {
            let labels = [("namespace", &*metadata.namespace), ("name", &*metadata.name)];
            family.sample(&labels, u64::from(restarts))?;
        }
    }
    Ok(())
}

/// Each running clone, by namespace and name.
fn clones(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let all = reconciler.pollers.readings.all();
    let all: Vec<_> =
        all.into_iter().map(|(key, progress)| (populated::shown_key(reconciler, &key), progress)).collect();
    let mut each =
        |name: &str,
         help: &str,
         value: &dyn Fn(&crate::progress::clone_progress::Progress) -> Option<SampleValue>| {
            let mut family = page.family(name, help, MetricKind::Gauge)?;
            for (key, progress) in &all {
                if let Some(value) = value(progress) {
                    family.sample(&[("namespace", &key.namespace), ("name", &key.name)], value)?;
                }
            }
            Ok::<(), NameError>(())
        };
    each("decant_clone_progress_percent", "Progress of a running clone, 0 to 100.", &|progress| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10,000.
        let hundredths = (progress.percent.clamp(0.0, 100.0) * 100.0) as u64;
        Some(SampleValue::fixed(hundredths, 2))
    })?;
    each("decant_clone_sent_bytes", "Bytes that a running clone has sent.", &|progress| {
        progress.sent_bytes.map(SampleValue::from)
    })?;
    each("decant_clone_size_bytes", "Bytes that a running clone has to send.", &|progress| {
        progress.total_bytes.map(SampleValue::from)
    })?;
    each("decant_clone_rate_bytes_per_second", "Rate of a running clone.", &|progress| {
        progress.rate_bytes_per_sec.map(SampleValue::from)
    })?;
    let help = "Bandwidth limit in force of a running clone; absent without a limit.";
    each("decant_clone_bandwidth_limit_bytes_per_second", help, &|progress| {
        progress.limit.map(|Rate(bytes_per_sec)| SampleValue::from(bytes_per_sec))
    })
}

/// The budget of all clones together, if there is one, and what is allotted of it.
fn bandwidth(page: &mut MetricsPage, reconciler: &Reconciler) -> Result<(), NameError> {
    let bandwidth = &reconciler.pollers.bandwidth;
    let Some(Rate(budget)) = bandwidth.budget() else { return Ok(()) };
    let help = "Bandwidth that all running clones share; absent without a budget.";
    page.family("decant_bandwidth_budget_bytes_per_second", help, MetricKind::Gauge)?.sample(&[], budget)?;
    let help = "Sum of the bandwidth limits in force of all running clones; absent without a budget.";
    page.family("decant_bandwidth_allotted_bytes_per_second", help, MetricKind::Gauge)?
        .sample(&[], bandwidth.allotted())
        .map(drop)
}

fn count(number: usize) -> SampleValue {
    u64::try_from(number).unwrap_or(u64::MAX).into()
}
