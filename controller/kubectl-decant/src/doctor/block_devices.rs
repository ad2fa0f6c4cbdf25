//! Checks whether pods may open their block devices.

use decant_shared::protocol::cdi::DEVICE_OWNERSHIP_SETTING;

use crate::doctor::{Check, Installation};
use crate::session::list;
use decant_controller::api::cluster::{ApiError, ListParams};
use decant_controller::objects::annotations::{APP, APP_VALUE, POD_PHASE};
use decant_controller::objects::claim::VolumeMode;
use decant_controller::objects::{Claim, Kind, Pod};

const ABOUT: &str = "block devices";

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    vec![match everything(installation) {
        Ok(found) => judge(&found),
        Err(e) => Check::unreadable(ABOUT, &e),
    }]
}

struct Evidence {
    pods: Vec<Pod>,
    claims: Vec<Claim>,
}

/// The evidence of all namespaces, or of the session's namespace if the user may not read the others.
fn everything(installation: &Installation<'_>) -> Result<Evidence, ApiError> {
    let session = installation.session;
    let both = |scope: ListParams| -> Result<Evidence, ApiError> {
        let ours = ListParams { labels: format!("{APP}={APP_VALUE}"), ..scope };
        let pods = list(&session.cluster, Kind::Pod, &ours)?.0;
        Ok(Evidence { pods, claims: list(&session.cluster, Kind::PersistentVolumeClaim, &ours)?.0 })
    };
    match both(session.scope(true)) {
        Err(ApiError { code: 403, .. }) => both(session.scope(false)),
        found => found,
    }
}

fn judge(found: &Evidence) -> Check {
    if let Some(pod) = found.pods.iter().find(|pod| is_refused_a_device(pod)) {
        let Pod { metadata, spec, .. } = pod;
        let node = if spec.node_name.is_empty() { "its node" } else { &spec.node_name };
        return Check::fail(
            ABOUT,
            format!("pod {} has no permission to open its device on {node}", metadata.key()),
            format!(
                "set {DEVICE_OWNERSHIP_SETTING} = true for the container runtime of each node: docs/operations.md, \"Block devices\""
            ),
        );
    }
    let is_done = |claim: &&Claim| {
        claim.spec.volume_mode == VolumeMode::Block
            && claim.metadata.annotation(POD_PHASE) == Some("Succeeded")
    };
    match found.claims.iter().find(is_done) {
        Some(claim) => Check::ok(ABOUT, format!("the clone into {} had access", claim.metadata.key())),
        None => Check::note(
            ABOUT,
            format!(
                "no block volume was cloned yet; that needs {DEVICE_OWNERSHIP_SETTING} = true for the container runtime of \
                 each node, which cannot be checked from here"
            ),
        ),
    }
}

/// Whether one of its containers ended for this reason, now or before its last restart.
fn is_refused_a_device(pod: &Pod) -> bool {
    let statuses = pod.status.container_statuses.iter();
    let ended =
        statuses.flat_map(|status| [&status.state.terminated, &status.last_state.terminated]).flatten();
    ended.map(|end| &end.message).any(|message| message.contains(DEVICE_OWNERSHIP_SETTING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use serde_json::json;

    fn pod(message: &str) -> Pod {
        let ended = json!({ "terminated": { "exitCode": 4, "message": message } });
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "cdi-upload-copy" },
            "spec": { "nodeName": "edge-1" },
            "status": { "containerStatuses": [{ "name": "c", "state": {}, "lastState": ended }] },
        }))
        .unwrap()
    }

    fn claim(mode: &str, phase: &str) -> Claim {
        let annotations = json!({ POD_PHASE: phase });
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "copy", "annotations": annotations },
            "spec": { "volumeMode": mode },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_without_access_to_its_device_is_named_with_its_node_and_the_setting() {
        let message =
            format!("no permission to write the block device; set {DEVICE_OWNERSHIP_SETTING} = true");
        let check = judge(&Evidence {
            pods: vec![pod("other"), pod(&message)],
            claims: vec![claim("Block", "Succeeded")],
        });
        assert_eq!(check.state, State::Fail);
        assert!(check.found.contains("n/cdi-upload-copy") && check.found.contains("edge-1"), "{check:?}");
        assert!(check.help.contains(DEVICE_OWNERSHIP_SETTING), "{check:?}");
    }

    #[test]
    fn only_a_finished_clone_into_a_block_volume_shows_that_devices_can_be_opened() {
        for (mode, phase, state) in [
            ("Block", "Succeeded", State::Ok),
            ("Block", "Running", State::Note),
            ("Filesystem", "Succeeded", State::Note),
        ] {
            let check = judge(&Evidence { pods: vec![pod("other")], claims: vec![claim(mode, phase)] });
            assert_eq!(check.state, state, "{mode} {phase}");
        }
    }
}
