//! Checks whether the controller and the user have the rights that they need, whichever roles grant them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::doctor::{Check, Installation};
use decant_controller::api::cluster::{ApiError, Cluster};
use decant_controller::api::responses::unreadable;
use decant_controller::objects::{Kind, decode};

/// The installed roles of the controller.
const ROLES: &str = include_str!("../../../deploy/base/rbac.yaml");
/// The cluster-wide roles that replace those of the same names beside CDI.
const ROLES_BESIDE_CDI: &str = concat!(
    include_str!("../../../deploy/beside-cdi/controller-role.yaml"),
    "---\n",
    include_str!("../../../deploy/beside-cdi/cluster-role.yaml")
);
/// The installed roles of the webhook.
const WEBHOOK_ROLE: &str = include_str!("../../../deploy/webhook/rbac.yaml");

/// One right to check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: String,
    group: String,
    /// The resource, with its subresource after a slash.
    resource: String,
    name: String,
    /// Whether the right is needed only in the controller's namespace.
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

/// Checks the rights of the service accounts. `webhook_account` is that of the webhook, if it is installed.
pub(super) fn check(
    installation: &Installation<'_>,
    account: &str,
    webhook_account: Option<&str>,
) -> Vec<Check> {
    let controller = of_controller(installation.is_beside_cdi);
    let mut checks = match webhook_account {
        Some(webhook) if webhook == account => {
            let both = [controller, rights_in(WEBHOOK_ROLE)].concat();
            vec![of_account(installation, account, &both)]
        }
        Some(webhook) => vec![
            of_account(installation, account, &controller),
            of_account(installation, webhook, &rights_in(WEBHOOK_ROLE)),
        ],
        None => vec![of_account(installation, account, &controller)],
    };
    checks.push(of_caller(installation));
    checks
}

/// The rights of the controller, local ones included.
fn of_controller(is_beside_cdi: bool) -> Vec<Right> {
    let rights = rights_in(ROLES);
    if !is_beside_cdi {
        return rights;
    }
    let local = rights.into_iter().filter(|right| right.is_local);
    local.chain(rights_in(ROLES_BESIDE_CDI)).collect()
}

fn of_account(installation: &Installation<'_>, account: &str, rights: &[Right]) -> Check {
    let user = format!("system:serviceaccount:{}:{account}", installation.namespace);
    let about = format!("rights of {user}");
    let groups = [
        "system:serviceaccounts",
        &format!("system:serviceaccounts:{}", installation.namespace),
        "system:authenticated",
    ];
    let is_granted = |right: &Right, namespace: &str| {
        let namespace = if right.is_local { installation.namespace } else { namespace };
        let spec =
            json!({ "user": user, "groups": groups, "resourceAttributes": attributes(right, namespace) });
        is_allowed(installation, Kind::SubjectAccessReview, &spec)
    };
    // A controller that is installed for one namespace has its rights only there.
    let here = &installation.session.namespace;
    let mut missing = Vec::new();
    let mut only_here = false;
    for right in rights {
        let answer = match is_granted(right, "") {
            Ok(false) => is_granted(right, here).inspect(|granted| only_here |= *granted),
            answer => answer,
        };
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{} {}", right.verb, right.resource)),
            Err(e) => return Check::unreadable(about, &e),
        }
    }
    if missing.is_empty() {
        let installation = if only_here { format!(", in namespace {here}") } else { String::new() };
        return Check::ok(about, format!("all {} are granted{installation}", rights.len()));
    }
    let help = "apply the roles again: `kubectl apply -k controller/deploy` (with the webhook: controller/deploy/webhook; \
                beside CDI: controller/deploy/beside-cdi)";
    let found = if missing.len() == rights.len() {
        format!("none of the {} is granted", rights.len())
    } else {
        format!("missing: {}", missing.join(", "))
    };
    Check::fail(about, found, help)
}

fn of_caller(installation: &Installation<'_>) -> Check {
    let namespace = &installation.session.namespace;
    let about = format!("your own rights in namespace {namespace}");
    let mut missing = Vec::new();
    let reports = if installation.is_beside_cdi { Kind::PersistentVolumeClaim } else { Kind::DataVolume };
    let request = if installation.is_beside_cdi { Kind::CloneSource } else { Kind::DataVolume };
    let needed =
        [("create", request), ("list", reports), ("watch", reports), ("get", Kind::PersistentVolumeClaim)];
    for (verb, kind) in needed {
        let right = Right {
            verb: verb.to_owned(),
            group: kind.group().to_owned(),
            resource: kind.plural().to_owned(),
            name: String::new(),
            is_local: true,
        };
        let spec = json!({ "resourceAttributes": attributes(&right, namespace) });
        match is_allowed(installation, Kind::SelfSubjectAccessReview, &spec) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{verb} {}", kind.plural())),
            Err(e) => return Check::unreadable(about, &e),
        }
    }
    if missing.is_empty() {
        Check::ok(about, "you may clone and follow clones")
    } else {
        Check::note(about, format!("missing: {}", missing.join(", ")))
    }
}

fn attributes(right: &Right, namespace: &str) -> Value {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    json!({ "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
            "name": right.name, "namespace": namespace })
}

fn is_allowed(installation: &Installation<'_>, kind: Kind, spec: &Value) -> Result<bool, ApiError> {
    let review = json!({ "apiVersion": kind.api_version(), "kind": kind.name(), "spec": spec });
    let answer: Review = decode(installation.session.cluster.create(kind, &review)?)
        .map_err(|e| unreadable(kind.name(), &e))?;
    Ok(answer.status.allowed)
}

/// The fields of the response that are used.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    allowed: bool,
}

/// All rights that the roles in `yaml` grant.
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
            rights.extend(rights_of_rule(rule, &names, document.kind == "Role"));
        }
    }
    rights
}

/// Every combination of API group, resource, verb and name in a rule.
fn rights_of_rule(rule: &Rule, names: &[String], is_local: bool) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                rights.extend(names.iter().map(|name| Right {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    is_local,
                }));
            }
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_roles_is_checked() {
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
        let beside = of_controller(true);
        let of_cdi = beside.iter().filter(|right| right.group == "cdi.kubevirt.io");
        let reads_settings =
            |right: &Right| right.verb == "list" && ["cdiconfigs", "cdis"].contains(&&*right.resource);
        assert!(of_cdi.into_iter().all(reads_settings), "{beside:?}");
        assert!(
            beside.iter().any(|right| right.verb == "update" && right.resource == "leases"),
            "{beside:?}"
        );
        assert!(beside.len() > 20, "{beside:?}");
        assert!(rights.len() > 20, "{rights:?}");
        let webhook = rights_in(WEBHOOK_ROLE);
        assert!(
            webhook.iter().any(|r| r.name == "cdi-api-datavolume-mutate" && r.verb == "patch"),
            "{webhook:?}"
        );
    }
}
