//! CDI in the same cluster: whether it and Decant would act on the same DataVolumes.

use serde::Deserialize;
use time::OffsetDateTime;

use crate::doctor::{Check, Installation};
use crate::session::list;
use decant_controller::api::cluster::{ApiError, ListParams};
use decant_controller::objects::{Kind, Meta};
use decant_controller::run::beside_cdi::{is_cdi_active, lease_key};

const ABOUT: &str = "CDI in this cluster";
/// The Deployment of CDI's controller.
const DEPLOYMENT: &str = "cdi-deployment";

/// The fields of a Deployment that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CdiDeployment {
    metadata: Meta,
    spec: CdiDeploymentSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CdiDeploymentSpec {
    replicas: Option<u32>,
}

impl CdiDeployment {
    /// One that is scaled to zero, as during a migration, acts on nothing.
    fn is_active(&self) -> bool {
        self.spec.replicas != Some(0)
    }
}

/// What shows that CDI's controller runs; the checks that were not possible.
#[derive(Debug, Default)]
struct CdiEvidence {
    active: Option<String>,
    error: Option<ApiError>,
}

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    vec![judge(&evidence(installation), installation.is_beside_cdi)]
}

fn evidence(installation: &Installation<'_>) -> CdiEvidence {
    let cluster = &installation.session.cluster;
    let params = ListParams { fields: format!("metadata.name={DEPLOYMENT}"), ..ListParams::default() };
    let deployments = list::<CdiDeployment>(cluster, Kind::Deployment, &params);
    let by_deployment = deployments.map(|(found, _)| {
        let active = found.iter().find(|deployment| deployment.is_active());
        active.map(|deployment| format!("Deployment {}", deployment.metadata.key()))
    });
    let by_lease = is_cdi_active(cluster, OffsetDateTime::now_utc())
        .map(|is_active| is_active.then(|| format!("Lease {}", lease_key())));
    let mut evidence = CdiEvidence::default();
    for found in [by_deployment, by_lease] {
        match found {
            Ok(active) => evidence.active = evidence.active.or(active),
            Err(e) => evidence.error = Some(e),
        }
    }
    evidence
}

fn judge(evidence: &CdiEvidence, is_beside_cdi: bool) -> Check {
    match (&evidence.active, &evidence.error, is_beside_cdi) {
        (Some(active), _, true) => Check::ok(
            ABOUT,
            format!(
                "its controller serves DataVolumes ({active}); Decant fills only PVCs with a CloneSource (--beside-cdi)"
            ),
        ),
        (None, _, true) => {
            let found =
                "no controller of it was found; Decant fills only PVCs with a CloneSource (--beside-cdi)";
            Check::note(ABOUT, found)
        }
        (Some(active), _, false) => Check::fail(
            ABOUT,
            format!(
                "its controller runs ({active}), and both act on the same DataVolumes and VolumeCloneSources"
            ),
            "install Decant with controller/deploy/beside-cdi, or remove CDI: docs/migrate-from-cdi.md",
        ),
        (None, Some(e), false) => Check::unreadable(ABOUT, e),
        (None, None, false) => Check::ok(ABOUT, "its controller does not run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use serde_json::json;

    #[test]
    fn two_controllers_for_the_same_data_volumes_are_a_failure() {
        let active = || CdiEvidence { active: Some("Lease cdi/x".to_owned()), error: None };
        assert_eq!(judge(&active(), false).state, State::Fail);
        assert_eq!(judge(&active(), true).state, State::Ok);
        assert_eq!(judge(&CdiEvidence::default(), false).state, State::Ok);
        assert_eq!(judge(&CdiEvidence::default(), true).state, State::Note);
        let forbidden = ApiError { code: 403, reason: String::new(), message: "no".to_owned() };
        assert_eq!(judge(&CdiEvidence { active: None, error: Some(forbidden) }, false).state, State::Note);
    }

    #[test]
    fn a_deployment_without_replicas_is_not_active() {
        let is_active = |spec| {
            let deployment: CdiDeployment = serde_json::from_value(json!({ "spec": spec })).unwrap();
            deployment.is_active()
        };
        assert!(is_active(json!({})) && is_active(json!({ "replicas": 1 })));
        assert!(!is_active(json!({ "replicas": 0 })));
    }
}
