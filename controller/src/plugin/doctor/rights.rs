//! Whether the controller may do what it does, whichever roles say so; and the person who asks.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Check, Place};
use crate::cluster::{ApiError, Cluster};
use crate::resource::Kind;

/// The roles that the controller is installed with.
const ROLES: &str = include_str!("../../../deploy/base/rbac.yaml");
/// The role that the webhook needs besides.
const WEBHOOK_ROLE: &str = include_str!("../../../deploy/webhook/rbac.yaml");

/// One thing that somebody may do or not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: String,
    group: String,
    /// With a subresource behind a slash.
    resource: String,
    name: String,
    /// Only in the controller's namespace.
    is_local: bool,
}

#[derive(Debug, Deserialize)]
struct Document {
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

pub(super) fn check(place: &Place<'_>, account: &str, has_webhook: bool) -> Vec<Check> {
    vec![of_controller(place, account, has_webhook), of_caller(place)]
}

fn of_controller(place: &Place<'_>, account: &str, has_webhook: bool) -> Check {
    let user = format!("system:serviceaccount:{}:{account}", place.namespace);
    let about = format!("rights of {user}");
    let mut rights = rights_in(ROLES);
    if has_webhook {
        for right in rights_in(WEBHOOK_ROLE) {
            if !rights.contains(&right) {
                rights.push(right);
            }
        }
    }
    let groups = [
        "system:serviceaccounts",
        &format!("system:serviceaccounts:{}", place.namespace),
        "system:authenticated",
    ];
    let mut missing = Vec::new();
    for right in &rights {
        let namespace = if right.is_local { place.namespace } else { "" };
        let spec =
            json!({ "user": user, "groups": groups, "resourceAttributes": attributes(right, namespace) });
        match is_allowed(place, Kind::SubjectAccessReview, &spec) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{} {}", right.verb, right.resource)),
            Err(e) => return Check::unseen(about, &e),
        }
    }
    if missing.is_empty() {
        return Check::ok(about, format!("all {} are there", rights.len()));
    }
    let help = "apply the roles again: `kubectl apply -k controller/deploy` (with the webhook: controller/deploy/webhook)";
    let found = if missing.len() == rights.len() {
        format!("it has none of the {} that it needs", rights.len())
    } else {
        format!("it may not: {}", missing.join(", "))
    };
    Check::fail(about, found, help)
}

fn of_caller(place: &Place<'_>) -> Check {
    let namespace = &place.session.namespace;
    let about = format!("your own rights in namespace {namespace}");
    let mut missing = Vec::new();
    for (verb, kind) in [
        ("create", Kind::DataVolume),
        ("list", Kind::DataVolume),
        ("watch", Kind::DataVolume),
        ("get", Kind::PersistentVolumeClaim),
    ] {
        let right = Right {
            verb: verb.to_owned(),
            group: kind.group().to_owned(),
            resource: kind.plural().to_owned(),
            name: String::new(),
            is_local: true,
        };
        let spec = json!({ "resourceAttributes": attributes(&right, namespace) });
        match is_allowed(place, Kind::SelfSubjectAccessReview, &spec) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{verb} {}", kind.plural())),
            Err(e) => return Check::unseen(about, &e),
        }
    }
    if missing.is_empty() {
        Check::ok(about, "you may clone and follow clones")
    } else {
        Check::note(about, format!("you may not: {}", missing.join(", ")))
    }
}

fn attributes(right: &Right, namespace: &str) -> Value {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    json!({ "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
            "name": right.name, "namespace": namespace })
}

fn is_allowed(place: &Place<'_>, kind: Kind, spec: &Value) -> Result<bool, ApiError> {
    let review = json!({ "apiVersion": kind.api_version(), "kind": kind.name(), "spec": spec });
    Ok(place.session.cluster.create(kind, &review)?["status"]["allowed"] == true)
}

/// All rights that the roles in `yaml` give.
fn rights_in(yaml: &str) -> Vec<Right> {
    let documents: Vec<Document> = serde_saphyr::from_multiple(yaml).unwrap_or_default();
    let mut rights = Vec::new();
    for document in
        documents.iter().filter(|document| matches!(document.kind.as_str(), "ClusterRole" | "Role"))
    {
        for rule in &document.rules {
            let names = if rule.resource_names.is_empty() {
                vec![String::new()]
            } else {
                rule.resource_names.clone()
            };
            for (group, resource, verb, name) in product(rule, &names) {
                rights.push(Right { verb, group, resource, name, is_local: document.kind == "Role" });
            }
        }
    }
    rights
}

/// Everything that a rule speaks of, one by one.
fn product(rule: &Rule, names: &[String]) -> Vec<(String, String, String, String)> {
    let mut all = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                all.extend(
                    names.iter().map(|name| (group.clone(), resource.clone(), verb.clone(), name.clone())),
                );
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_roles_is_asked_about() {
        let rights = rights_in(ROLES);
        let has = |verb: &str, resource: &str, is_local: bool| {
            rights.iter().any(|r| r.verb == verb && r.resource == resource && r.is_local == is_local)
        };
        assert!(
            has("patch", "datavolumes/status", false)
                && has("update", "leases", true)
                && has("get", "secrets", true)
        );
        assert!(!has("get", "secrets", false));
        assert!(rights.len() > 20, "{rights:?}");
        let webhook = rights_in(WEBHOOK_ROLE);
        assert!(
            webhook.iter().any(|r| r.name == "cdi-api-datavolume-mutate" && r.verb == "patch"),
            "{webhook:?}"
        );
    }
}
