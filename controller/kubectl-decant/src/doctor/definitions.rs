//! The CustomResourceDefinitions: installed, accepted by the API server, and in the right version.

use serde::Deserialize;

use crate::doctor::{Check, Installation};
use decant_controller::api::cluster::Cluster;
use decant_controller::objects::crds::ServedKind;
use decant_controller::objects::data_volume::DataVolumeCondition;
use decant_controller::objects::{Key, Kind, Meta, Readable, crds, decode};

const HELP: &str =
    "install them: `controller crds | kubectl apply -f -`, or `kubectl apply -k controller/deploy`";

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    let served = crds::served_kinds();
    let kinds = served.iter().filter(|kind| !(installation.is_beside_cdi && kind.is_of_cdi()));
    kinds.map(|kind| one(installation, kind)).collect()
}

fn one(installation: &Installation<'_>, kind: &ServedKind) -> Check {
    let about = format!("CustomResourceDefinition {}", kind.definition);
    match installation.session.cluster.get(Kind::CustomResourceDefinition, &Key::new("", &kind.definition)) {
        Ok(object) => judge(about, &object, &kind.version),
        Err(e) if e.is_not_found() => Check::fail(about, "not found", HELP),
        Err(e) => Check::unreadable(about, &e),
    }
}

/// The fields of a definition that are used.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Definition {
    metadata: Meta,
    spec: DefinitionSpec,
    status: DefinitionStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DefinitionSpec {
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DefinitionStatus {
    conditions: Vec<DataVolumeCondition>,
}

fn judge(about: String, object: &impl Readable, version: &str) -> Check {
    let Definition { metadata, spec, status } = match decode(object) {
        Ok(definition) => definition,
        Err(e) => return Check::fail(about, format!("it cannot be read: {e}"), HELP),
    };
    let serves = spec.versions.iter().any(|found| found.name == version && found.served);
    let condition =
        |kind: &str, value: &str| status.conditions.iter().find(|c| c.kind == kind && c.status == value);
    let established = condition("Established", "True").is_some();
    if metadata.is_deleting() {
        return Check::fail(
            about,
            "it is being deleted, with all objects of this kind",
            "install it again afterwards",
        );
    }
    match (serves, established) {
        (true, true) => Check::ok(about, format!("serves {version}")),
        (false, _) => Check::fail(about, format!("it does not serve {version}"), HELP),
        (true, false) => {
            let bad = condition("NamesAccepted", "False").map(|condition| condition.message.as_str());
            let why = bad.unwrap_or("the API server has not accepted it yet");
            Check::fail(about, why, "see `kubectl describe crd` of it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use serde_json::json;

    #[test]
    fn a_definition_has_to_be_accepted_and_to_serve_our_version() {
        let object = |version: &str, established: &str| {
            json!({ "spec": { "versions": [{ "name": version, "served": true }] },
                    "status": { "conditions": [{ "type": "Established", "status": established }] } })
        };
        let judged =
            |version, established| judge(String::new(), &object(version, established), "v1beta1").state;
        assert_eq!(judged("v1beta1", "True"), State::Ok);
        assert_eq!(judged("v1", "True"), State::Fail);
        assert_eq!(judged("v1beta1", "False"), State::Fail);
    }
}
