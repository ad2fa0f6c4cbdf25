//! The CustomResourceDefinitions: there, taken by the API server, and in our version.

use serde_json::Value;

use super::{Check, Place};
use crate::cluster::Cluster;
use crate::crds;
use crate::resource::{Key, Kind};

const HELP: &str =
    "install them: `controller crds | kubectl apply -f -`, or `kubectl apply -k controller/deploy`";

pub(super) fn check(place: &Place<'_>) -> Vec<Check> {
    crds::names().iter().map(|name| one(place, name)).collect()
}

fn one(place: &Place<'_>, name: &str) -> Check {
    let about = format!("CustomResourceDefinition {name}");
    match place.session.cluster.get(Kind::CustomResourceDefinition, &Key::new("", name)) {
        Ok(object) => judge(about, &object),
        Err(e) if e.is_not_found() => Check::fail(about, "it is not there", HELP),
        Err(e) => Check::unseen(about, &e),
    }
}

fn judge(about: String, object: &Value) -> Check {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let version = Kind::DataVolume.version();
    let serves =
        list(&object["spec"]["versions"]).iter().any(|v| v["name"] == version && v["served"] == true);
    let conditions = list(&object["status"]["conditions"]);
    let established = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Check::fail(
            about,
            "it is being deleted, with all objects of this kind",
            "make it anew afterwards",
        );
    }
    match (serves, established) {
        (true, true) => Check::ok(about, format!("serves {version}")),
        (false, _) => Check::fail(about, format!("it does not serve {version}"), HELP),
        (true, false) => {
            let bad = conditions.iter().find(|c| c["type"] == "NamesAccepted" && c["status"] == "False");
            let why =
                bad.and_then(|c| c["message"].as_str()).unwrap_or("the API server has not taken it yet");
            Check::fail(about, why, "look at `kubectl describe crd` of it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_has_to_be_taken_and_to_serve_our_version() {
        let object = |version: &str, established: &str| {
            json!({ "spec": { "versions": [{ "name": version, "served": true }] },
                    "status": { "conditions": [{ "type": "Established", "status": established }] } })
        };
        assert_eq!(judge(String::new(), &object("v1beta1", "True")).state, State::Ok);
        assert_eq!(judge(String::new(), &object("v1", "True")).state, State::Fail);
        assert_eq!(judge(String::new(), &object("v1beta1", "False")).state, State::Fail);
    }
}
