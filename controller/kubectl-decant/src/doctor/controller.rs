//! The controller: its Deployment, its pods, and whether somebody renews the Lease.

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

/// What the pods and the Deployment of every installation have.
const LABEL: &str = "app.kubernetes.io/name=decant-controller";
/// The account where nothing says otherwise.
const ACCOUNT: &str = "decant-controller";
/// What the pods and the Deployment of the webhook have.
const WEBHOOK_LABEL: &str = "app.kubernetes.io/name=decant-webhook";
/// A Lease that was not renewed for so long is not held by anybody who acts: three times the rhythm.
const RENEWAL: Duration = RETRY_WAIT.saturating_mul(3);

/// What is read of a Deployment.
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

/// Looks at the Deployment; returns the controller's service account, too.
pub(super) fn check(installation: &Installation<'_>) -> (Vec<Check>, String) {
    let about = format!("controller in namespace {}", installation.namespace);
    match look(installation, LABEL) {
        Ok(Some((check, account))) => (vec![check], account.unwrap_or_else(|| ACCOUNT.to_owned())),
        Ok(None) => {
            let help = "install it with `kubectl apply -k controller/deploy`, or say where it is with --controller-namespace";
            (vec![Check::fail(about, "there is no Deployment", help)], ACCOUNT.to_owned())
        }
        Err(e) => (vec![Check::unseen(about, &e)], ACCOUNT.to_owned()),
    }
}

/// The same for the webhook's own Deployment. Without one the controller serves the webhook, under its account.
pub(super) fn check_webhook(installation: &Installation<'_>) -> (Vec<Check>, Option<String>) {
    match look(installation, WEBHOOK_LABEL) {
        Ok(Some((check, account))) => (vec![check], account),
        Ok(None) => (Vec::new(), None),
        Err(e) => (vec![Check::unseen(format!("webhook in namespace {}", installation.namespace), &e)], None),
    }
}

/// What is found of the Deployment with this label, and its service account.
fn look(installation: &Installation<'_>, label: &str) -> Result<Option<(Check, Option<String>)>, ApiError> {
    let namespace = Some(installation.namespace.to_owned());
    let params = ListParams { namespace, labels: label.to_owned(), ..ListParams::default() };
    let cluster = &installation.session.cluster;
    let (deployments, _) = list::<Deployment>(cluster, Kind::Deployment, &params)?;
    let Some(deployment) = deployments.into_iter().next() else { return Ok(None) };
    let account = Some(deployment.spec.template.spec.service_account_name.clone());
    let pods = list::<Pod>(cluster, Kind::Pod, &params).map(|(pods, _)| pods).unwrap_or_default();
    let check = judge(installation.namespace, &deployment, &pods);
    Ok(Some((check, account.filter(|name| !name.is_empty()))))
}

fn judge(namespace: &str, deployment: &Deployment, pods: &[Pod]) -> Check {
    let name = &deployment.metadata.name;
    let about = format!("Deployment {namespace}/{name}");
    let (ready, wanted) = (deployment.status.ready_replicas, deployment.spec.replicas);
    let found = format!("{ready} of {wanted} replicas are ready");
    if wanted == 0 {
        let help = format!("start it: `kubectl -n {namespace} scale deployment {name} --replicas=2`");
        return Check::fail(about, "it is scaled to no replicas", help);
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
        format!("look at `kubectl -n {namespace} describe deployment {name}` and the logs of its pods"),
    )
}

/// What keeps a pod from running, in words; `None` when nothing is seen.
pub(super) fn trouble(pod: &Pod) -> Option<String> {
    let says = |reason: &str, message: &str| match message {
        "" => reason.to_owned(),
        _ => format!("{reason}: {message}"),
    };
    if pod.status.phase == "Failed" && !pod.status.reason.is_empty() {
        return Some(says(&pod.status.reason, &pod.status.message));
    }
    let unscheduled = pod.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return Some(says(&condition.reason, &condition.message));
    }
    pod.status.container_statuses.iter().find_map(|status| {
        if let Some(waiting) = &status.state.waiting {
            let is_usual = matches!(waiting.reason.as_str(), "" | "ContainerCreating" | "PodInitializing");
            return (!is_usual).then(|| says(&waiting.reason, &waiting.message));
        }
        let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        Some(says(&format!("exit code {}", ended.exit_code), ended.message.trim()))
    })
}

/// The Lease as it was when the doctor came.
pub(super) struct Pulse {
    first: Result<Option<Lease>, ApiError>,
    at: Instant,
}

impl Pulse {
    /// Feels the pulse for the first time. Fails when nobody answers at all: then there is nothing to look at.
    pub(super) fn take(installation: &Installation<'_>) -> Result<Self, Failure> {
        let pulse = Self { first: read(installation), at: Instant::now() };
        match &pulse.first {
            Err(e) if e.code == 0 || e.code == 401 => Err(e.clone().into()),
            _ => Ok(pulse),
        }
    }

    /// Feels it again, until it moved or should have.
    pub(super) fn check(self, installation: &Installation<'_>) -> Check {
        let about = format!("Lease {}/{}", installation.namespace, lease::NAME);
        let help =
            format!("look at the logs of the controller's pods in namespace {}", installation.namespace);
        let first = match self.first {
            Ok(Some(lease)) => lease,
            Ok(None) => return Check::fail(about, "it is not there: no controller has ever acted", help),
            Err(e) => return Check::unseen(about, &e),
        };
        if first.holder.is_empty() {
            return Check::fail(about, "nobody holds it: no controller acts", help);
        }
        loop {
            let is_last = self.at.elapsed() >= RENEWAL;
            if let Ok(Some(now)) = read(installation)
                && now.version != first.version
            {
                return Check::ok(about, format!("{} acts", now.holder));
            }
            if is_last {
                let found =
                    format!("{} holds it and has not renewed it for {} s", first.holder, RENEWAL.as_secs());
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
    fn a_pod_that_does_not_start_says_why() {
        let status = json!({ "containerStatuses": [
            { "name": "c", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }] });
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap();
        let check = judge("n", &deployment(2, 0), &[pod]);
        assert!(check.found.contains("p: ImagePullBackOff: no such image"), "{check:?}");
    }
}
