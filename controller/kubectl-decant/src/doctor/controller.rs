//! The controller: its Deployment, its pods, and whether its Lease is renewed.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::doctor::{Check, Installation};
use crate::ending::Failure;
use crate::session::list;
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::api::responses::unreadable;
use decant_controller::leader::lease;
use decant_controller::leader::lease::RETRY_WAIT;
use decant_controller::leader::record::Lease;
use decant_controller::objects::{Key, Kind, Meta, Pod};

/// Selects the Deployment of the controller and its pods.
const LABEL: &str = "app.kubernetes.io/name=decant-controller";
/// The default service account of the controller.
const ACCOUNT: &str = "decant-controller";
/// Selects the Deployment of the webhook and its pods.
const WEBHOOK_LABEL: &str = "app.kubernetes.io/name=decant-webhook";
/// A leader renews its Lease within this time: three times its interval.
const RENEWAL: Duration = RETRY_WAIT.saturating_mul(3);

/// The fields of a Deployment that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Deployment {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: u32,
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: TemplateSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    service_account_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    ready_replicas: u32,
}

/// Checks of a Deployment, and the service account of its pods.
pub(super) struct DeploymentReport {
    pub(super) checks: Vec<Check>,
    pub(super) account: String,
}

/// Checks the Deployment of the controller.
pub(super) fn check(installation: &Installation<'_>) -> DeploymentReport {
    let about = format!("controller in namespace {}", installation.namespace);
    let failed = |check| DeploymentReport { checks: vec![check], account: ACCOUNT.to_owned() };
    match check_deployment(installation, LABEL, ACCOUNT) {
        Ok(Some(report)) => report,
        Ok(None) => {
            let help = "install it with `kubectl apply -k controller/deploy`, or name its namespace with --controller-namespace";
            failed(Check::fail(about, "there is no Deployment", help))
        }
        Err(e) => failed(Check::unreadable(about, &e)),
    }
}

/// Checks the Deployment of the webhook. Without one, the controller serves the webhook with its own account.
pub(super) fn check_webhook(installation: &Installation<'_>, controller_account: &str) -> DeploymentReport {
    let about = format!("webhook in namespace {}", installation.namespace);
    let without = |checks| DeploymentReport { checks, account: controller_account.to_owned() };
    match check_deployment(installation, WEBHOOK_LABEL, controller_account) {
        Ok(Some(report)) => report,
        Ok(None) => without(Vec::new()),
        Err(e) => without(vec![Check::unreadable(about, &e)]),
    }
}

/// Checks the Deployment with this label; `None` if there is none.
fn check_deployment(
    installation: &Installation<'_>,
    label: &str,
    default_account: &str,
) -> Result<Option<DeploymentReport>, ApiError> {
    let namespace = Some(installation.namespace.to_owned());
    let params = ListParams { namespace, labels: label.to_owned(), ..ListParams::default() };
    let cluster = &installation.session.cluster;
    let (deployments, _) = list::<Deployment>(cluster, Kind::Deployment, &params)?;
    let Some(deployment) = deployments.into_iter().next() else { return Ok(None) };
    let pods = list::<Pod>(cluster, Kind::Pod, &params).map(|(pods, _)| pods).unwrap_or_default();
    let account = match deployment.spec.template.spec.service_account_name.as_str() {
        "" => default_account.to_owned(),
        name => name.to_owned(),
    };
    Ok(Some(DeploymentReport { checks: vec![judge(installation.namespace, &deployment, &pods)], account }))
}

fn judge(namespace: &str, deployment: &Deployment, pods: &[Pod]) -> Check {
    let name = &deployment.metadata.name;
    let about = format!("Deployment {namespace}/{name}");
    let ready = deployment.status.ready_replicas;
    let wanted = deployment.spec.replicas;
    let found = format!("{ready} of {wanted} replicas are ready");
    if wanted == 0 {
        let help = format!("start it: `kubectl -n {namespace} scale deployment {name} --replicas=2`");
        return Check::fail(about, "scaled to 0 replicas", help);
    }
    if ready >= wanted {
        return Check::ok(about, found);
    }
    let why: Vec<String> =
        pods.iter().filter_map(|pod| Some(format!("{}: {}", pod.metadata.name, trouble(pod)?))).collect();
    let found = if why.is_empty() { found } else { format!("{found}; {}", why.join("; ")) };
    Check::fail(
        about,
        found,
        format!("see `kubectl -n {namespace} describe deployment {name}` and the logs of its pods"),
    )
}

/// Why a pod does not run; `None` if its status has no reason.
pub(super) fn trouble(pod: &Pod) -> Option<String> {
    let text = |reason: &str, message: &str| match message {
        "" => reason.to_owned(),
        _ => format!("{reason}: {message}"),
    };
    if pod.status.phase == "Failed" && !pod.status.reason.is_empty() {
        return Some(text(&pod.status.reason, &pod.status.message));
    }
    let unscheduled = pod.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return Some(text(&condition.reason, &condition.message));
    }
    pod.status.container_statuses.iter().find_map(|status| {
        if let Some(waiting) = &status.state.waiting {
            let is_usual = matches!(waiting.reason.as_str(), "" | "ContainerCreating" | "PodInitializing");
            return (!is_usual).then(|| text(&waiting.reason, &waiting.message));
        }
        let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        Some(text(&format!("exit code {}", ended.exit_code), ended.message.trim()))
    })
}

/// Reads the Lease twice to see whether it is renewed.
pub(super) struct LeaseProbe {
    first: Result<Option<Lease>, ApiError>,
    at: Instant,
}

impl LeaseProbe {
    /// Reads the Lease for the first time. Fails if the API server does not answer: then no check can run.
    pub(super) fn start(installation: &Installation<'_>) -> Result<Self, Failure> {
        let probe = Self { first: read(installation), at: Instant::now() };
        match &probe.first {
            Err(e) if e.code == 0 || e.code == 401 => Err(e.clone().into()),
            _ => Ok(probe),
        }
    }

    /// Reads the Lease again until it changes, or should have changed.
    pub(super) fn check(self, installation: &Installation<'_>) -> Check {
        let about = format!("Lease {}/{}", installation.namespace, lease::NAME);
        let help = format!("see the logs of the controller's pods in namespace {}", installation.namespace);
        let first = match self.first {
            Ok(Some(lease)) => lease,
            Ok(None) => return Check::fail(about, "not found: no controller has been the leader yet", help),
            Err(e) => return Check::unreadable(about, &e),
        };
        if first.holder.is_empty() {
            return Check::fail(about, "it has no holder: no controller is the leader", help);
        }
        loop {
            let is_last = self.at.elapsed() >= RENEWAL;
            if let Ok(Some(now)) = read(installation)
                && now.version != first.version
            {
                return Check::ok(about, format!("{} is the leader", now.holder));
            }
            if is_last {
                let found = format!(
                    "{} is the holder and has not renewed it for {} s",
                    first.holder,
                    RENEWAL.as_secs()
                );
                return Check::fail(about, found, help);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn read(installation: &Installation<'_>) -> Result<Option<Lease>, ApiError> {
    match installation.session.cluster.get(Kind::Lease, &Key::new(installation.namespace, lease::NAME)) {
        Ok(object) => Lease::from_object(&object).map(Some).map_err(|e| unreadable("the Lease", &e)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use serde_json::json;

    fn deployment(wanted: u32, ready: u32) -> Deployment {
        serde_json::from_value(json!({ "metadata": { "name": "d" }, "spec": { "replicas": wanted },
                                       "status": { "readyReplicas": ready } }))
        .unwrap()
    }

    #[test]
    fn all_replicas_have_to_be_ready() {
        assert_eq!(judge("n", &deployment(2, 2), &[]).state, State::Ok);
        assert_eq!(judge("n", &deployment(2, 1), &[]).state, State::Fail);
        let none = judge("n", &deployment(0, 0), &[]);
        assert!(none.state == State::Fail && none.help.contains("scale deployment d"), "{none:?}");
    }

    #[test]
    fn the_reason_of_a_pod_that_does_not_start_is_shown() {
        let status = json!({ "containerStatuses": [
            { "name": "c", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }] });
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap();
        let check = judge("n", &deployment(2, 0), &[pod]);
        assert!(check.found.contains("p: ImagePullBackOff: no such image"), "{check:?}");
    }
}
