//! What `controller/deploy` promises: who may do what, who reaches whom, and what is probed. `scripts/chart.sh` holds the chart
//! to the same files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// All objects in a file of `controller/deploy`.
fn objects(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(deploy().join(file)).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert!(!objects.is_empty(), "{file} holds nothing");
    objects
}

fn object(file: &str, kind: &str, name: &str) -> Value {
    let found = objects(file).into_iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{file} has no {kind} {name}"))
}

/// The pods of a Deployment: their labels, and their container.
fn pods(file: &str, name: &str) -> (Value, Value) {
    let template = object(file, "Deployment", name)["spec"]["template"].clone();
    (template["metadata"]["labels"].clone(), template["spec"]["containers"][0].clone())
}

/// `verb group/resource` of everything that roles of a file allow, with the name where there is one.
fn rights(file: &str, kind: &str) -> BTreeSet<String> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for role in objects(file).iter().filter(|o| o["kind"] == kind) {
        for rule in role["rules"].as_array().unwrap() {
            let mut names = list(&rule["resourceNames"]);
            if names.is_empty() {
                names.push("*".to_owned());
            }
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    rights.extend(names.iter().map(|name| format!("{verb} {resource} {name}")));
                }
            }
        }
    }
    rights
}

const DEPLOYMENTS: [(&str, &str); 2] =
    [("base/deployment.yaml", "decant-controller"), ("webhook/deployment.yaml", "decant-webhook")];

#[test]
fn probes_have_their_own_port() {
    for (file, name) in DEPLOYMENTS {
        let container = pods(file, name).1;
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "probes", "{name} {probe}");
            // The default of a second is short for a busy node.
            assert_eq!(container[probe]["timeoutSeconds"], 5, "{name} {probe}");
        }
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == "probes").unwrap()["containerPort"].clone();
        let args = container["args"].as_array().unwrap();
        assert!(args.contains(&json!(format!("--probe-listen=[::]:{port}"))), "{name}: {args:?}");
        assert!(
            ports.iter().filter(|other| other["containerPort"] == port).count() == 1,
            "{name}: {ports:?}"
        );
    }
}

#[test]
fn policies_open_exactly_the_ports_of_controller_and_webhook() {
    for ((file, name), policy) in DEPLOYMENTS.into_iter().zip(["base/network.yaml", "webhook/network.yaml"]) {
        let (labels, container) = pods(file, name);
        let policy = object(policy, "NetworkPolicy", name);
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], labels, "{name}");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]), "{name}");
        let ports: BTreeSet<u64> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["containerPort"].as_u64().unwrap())
            .collect();
        let allowed: BTreeSet<u64> = policy["spec"]["ingress"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|rule| rule["ports"].as_array().unwrap())
            .map(|port| port["port"].as_u64().unwrap())
            .collect();
        assert_eq!(ports, allowed, "{name}");
    }
}

/// Both lists exist because kubectl of 1.20 and kubectl of today share no syntax for "the directory below".
#[test]
fn the_top_directory_and_the_base_render_the_same() {
    let [mut top] = <[Value; 1]>::try_from(objects("kustomization.yaml")).unwrap();
    let [base] = <[Value; 1]>::try_from(objects("base/kustomization.yaml")).unwrap();
    for file in top["resources"].as_array_mut().unwrap() {
        *file = json!(file.as_str().unwrap().strip_prefix("base/").unwrap());
    }
    assert_eq!(top, base);
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether a selector of labels selects a pod.
fn selects(selector: &Value, pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object().unwrap();
    let is_in = |wanted: &Value| {
        assert_eq!(wanted["operator"], "In");
        wanted["values"].as_array().unwrap().contains(&labels[wanted["key"].as_str().unwrap()])
    };
    !wanted.is_empty()
        && wanted.iter().all(|(name, value)| labels[name] == *value)
        && selector["matchExpressions"].as_array().is_none_or(|wanted| wanted.iter().all(is_in))
}

#[test]
fn the_pod_of_a_direct_clone_is_reached_by_the_controller_alone_and_its_page_by_prometheus() {
    let file = "clone-policies/policies.yaml";
    let policy = object(file, "NetworkPolicy", "decant-direct");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    // An empty list would be dropped by the API server, and each `kubectl apply` would report a change.
    assert!(policy["spec"].get("egress").is_none(), "direct pods open connections");
    let sources = object(file, "NetworkPolicy", "decant-sources");
    assert_eq!(policy["spec"]["ingress"], sources["spec"]["ingress"]);
    let monitor = object("monitoring/monitor.yaml", "PodMonitor", "decant-sources");
    for mode in ["filesystem", "block"] {
        let direct = golden(&format!("direct-{mode}"));
        for (name, is_for) in [("decant-direct", true), ("decant-sources", false), ("decant-targets", false)]
        {
            let selector = &object(file, "NetworkPolicy", name)["spec"]["podSelector"];
            assert_eq!(selects(selector, &direct), is_for, "{name}");
        }
        assert!(selects(&monitor["spec"]["selector"], &direct));
        assert!(selects(&monitor["spec"]["selector"], &golden(&format!("source-{mode}"))));
        assert!(!selects(&monitor["spec"]["selector"], &golden(&format!("target-{mode}"))));
    }
}

#[test]
fn only_sources_reach_targets_and_only_the_controller_reaches_sources() {
    let file = "clone-policies/policies.yaml";
    let (targets, sources) =
        (object(file, "NetworkPolicy", "decant-targets"), object(file, "NetworkPolicy", "decant-sources"));
    for policy in [&targets, &sources] {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        // It goes into whichever namespace `kubectl -n` names.
        assert!(policy["metadata"]["namespace"].is_null());
    }
    for mode in ["filesystem", "block"] {
        let (target, source) = (golden(&format!("target-{mode}")), golden(&format!("source-{mode}")));
        let is_for = |policy: &Value, pod: &Value| selects(&policy["spec"]["podSelector"], pod);
        assert!(is_for(&targets, &target) && !is_for(&targets, &source));
        assert!(is_for(&sources, &source) && !is_for(&sources, &target));
        assert!(selects(&targets["spec"]["ingress"][0]["from"][0]["podSelector"], &source));
        assert!(selects(&sources["spec"]["egress"][0]["to"][0]["podSelector"], &target));
    }
    assert_eq!(targets["spec"]["ingress"].as_array().unwrap().len(), 1);
    assert!(targets["spec"].get("egress").is_none(), "targets open connections");
    let from = &sources["spec"]["ingress"][0]["from"];
    assert_eq!(from.as_array().unwrap().len(), 1);
    let controller = json!({ "metadata": { "labels": pods(DEPLOYMENTS[0].0, DEPLOYMENTS[0].1).0 } });
    assert!(selects(&from[0]["podSelector"], &controller));
    assert_eq!(from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "decant-system");
}

#[test]
fn the_webhooks_service_account_cannot_change_user_objects() {
    let file = "webhook/rbac.yaml";
    for binding in objects(file).iter().filter(|o| o["kind"].as_str().unwrap().ends_with("Binding")) {
        let account =
            json!([{ "kind": "ServiceAccount", "name": "decant-webhook", "namespace": "decant-system" }]);
        assert_eq!(binding["subjects"], account);
    }
    let template = object(DEPLOYMENTS[1].0, "Deployment", DEPLOYMENTS[1].1)["spec"]["template"].clone();
    assert_eq!(template["spec"]["serviceAccountName"], "decant-webhook");
    let everywhere = rights(file, "ClusterRole");
    let changing: Vec<&String> = everywhere
        .iter()
        .filter(|right| !right.starts_with("get "))
        .filter(|right| *right != "create subjectaccessreviews *")
        .filter(|right| {
            !right.ends_with(" cdi-api-datavolume-mutate") && !right.ends_with(" cdi-api-datavolume-validate")
        })
        .collect();
    assert!(changing.is_empty(), "{changing:?}");
    assert!(
        !everywhere.iter().any(|right| right.contains("secrets") || right.contains("pods")),
        "{everywhere:?}"
    );
    // The controller asks about rights again, and looks at the configurations; it changes none.
    let controller = rights("base/rbac.yaml", "ClusterRole");
    let configurations: Vec<&String> =
        controller.iter().filter(|right| right.contains("configurations")).collect();
    assert!(configurations.iter().all(|right| right.starts_with("get ")), "{controller:?}");
}

#[test]
fn the_controllers_own_secrets_are_read_by_name() {
    for file in ["base/rbac.yaml", "webhook/rbac.yaml"] {
        let role = rights(file, "Role");
        let reads: Vec<&String> = role.iter().filter(|right| right.starts_with("get secrets")).collect();
        assert!(!reads.is_empty() && !reads.iter().any(|right| right.ends_with('*')), "{file}: {role:?}");
        let everywhere = rights(file, "ClusterRole");
        assert!(!everywhere.iter().any(|right| right.starts_with("get secrets")), "{file}: {everywhere:?}");
    }
}

#[test]
fn in_single_namespace_mode_the_controller_has_rights_only_there() {
    // What the patches take away are all bindings of the roles that are bound in the namespace.
    let bound: BTreeSet<String> = objects("namespaced/binding.yaml")
        .iter()
        .map(|binding| {
            assert_eq!(
                (&binding["kind"], &binding["roleRef"]["kind"]),
                (&json!("RoleBinding"), &json!("ClusterRole"))
            );
            assert_eq!(binding["metadata"]["namespace"], "team");
            binding["roleRef"]["name"].as_str().unwrap().to_owned()
        })
        .collect();
    let patches = objects("namespaced/kustomization.yaml")[0]["patches"].clone();
    let removed: BTreeSet<String> = patches
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let patch: Value = serde_saphyr::from_str(item["patch"].as_str().unwrap()).unwrap();
            assert_eq!((&patch["$patch"], &patch["kind"]), (&json!("delete"), &json!("ClusterRoleBinding")));
            patch["metadata"]["name"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(bound, removed);
    let cluster = object("base/rbac.yaml", "ClusterRole", "decant-cluster");
    let changing: Vec<&Value> = cluster["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| ![json!(["get"]), json!(["list"]), json!(["get", "list"])].contains(&rule["verbs"]))
        .map(|rule| &rule["resources"])
        .collect();
    let expected =
        ["persistentvolumes", "volumepopulators", "subjectaccessreviews"].map(|name| json!([name]));
    assert_eq!(
        changing,
        expected.iter().collect::<Vec<_>>(),
        "of the cluster it only reads, asks about rights, hands volumes over and registers its kinds of data source"
    );
    let everywhere = rights("base/rbac.yaml", "ClusterRole");
    for (resource, change) in [("persistentvolumes", "patch"), ("volumepopulators", "create")] {
        let changes: Vec<&String> = everywhere
            .iter()
            .filter(|right| right.contains(&format!(" {resource} ")))
            .filter(|right| !right.starts_with("get ") && !right.starts_with("list "))
            .collect();
        assert_eq!(changes, [&format!("{change} {resource} *")]);
    }
}

/// Names of what the patches of `beside-cdi` remove from the base, by kind.
fn removed_beside_cdi() -> BTreeSet<(String, String)> {
    let patches = objects("beside-cdi/kustomization.yaml")[0]["patches"].clone();
    let inline = patches.as_array().unwrap().iter().filter_map(|item| item["patch"].as_str());
    inline
        .map(|text| {
            let patch: Value = serde_saphyr::from_str(text).unwrap();
            assert_eq!(patch["$patch"], "delete");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&patch["kind"]), text(&patch["metadata"]["name"]))
        })
        .collect()
}

#[test]
fn beside_cdi_no_object_has_the_name_of_one_of_cdi() {
    let removed = removed_beside_cdi();
    let base = objects("base/kustomization.yaml")[0]["resources"].clone();
    for file in base.as_array().unwrap() {
        for object in objects(&format!("base/{}", file.as_str().unwrap())) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let is_of_cdi = name.contains("cdi");
            assert_eq!(removed.contains(&(kind.clone(), name.clone())), is_of_cdi, "{kind} {name}");
        }
    }
    for object in objects("beside-cdi/roles.yaml") {
        assert!(object["metadata"]["name"].as_str().unwrap().starts_with("decant-"), "{object}");
    }
}

#[test]
fn beside_cdi_the_controller_has_no_right_to_objects_of_cdi_but_to_read_its_settings() {
    let everywhere = rights("base/rbac.yaml", "ClusterRole");
    for file in ["beside-cdi/controller-role.yaml", "beside-cdi/cluster-role.yaml"] {
        let [role] = <[Value; 1]>::try_from(objects(file)).unwrap();
        object("base/rbac.yaml", "ClusterRole", role["metadata"]["name"].as_str().unwrap());
        for rule in role["rules"].as_array().unwrap() {
            if rule["apiGroups"].as_array().unwrap().contains(&json!("cdi.kubevirt.io")) {
                let settings = json!(["cdiconfigs", "cdis"]);
                assert_eq!((&rule["resources"], &rule["verbs"]), (&settings, &json!(["list"])));
            }
        }
        let more: Vec<String> = rights(file, "ClusterRole").difference(&everywhere).cloned().collect();
        assert!(more.is_empty(), "{file} grants more than the base: {more:?}");
    }
    let wanted = ["get leases cdi-controller-leader-election-helper"];
    let leases: Vec<&String> = everywhere.iter().filter(|right| right.contains(" leases ")).collect();
    assert_eq!(leases, wanted, "of CDI it reads only the Lease");
}

/// The expressions are evaluated by an implementation of CEL that `scripts/test.sh setup` installs.
#[test]
fn the_admission_policies_accept_only_what_the_controller_creates() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap();
    let python = cache.join("decant/venv/bin/python");
    let has_cel = Command::new(&python)
        .args(["-c", "import celpy, yaml"])
        .output()
        .is_ok_and(|out| out.status.success());
    if !has_cel {
        assert!(std::env::var_os("CI").is_none(), "{} has no cel-python", python.display());
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let checked = Command::new(python)
        .arg(root.join("scripts/chart/admission.py"))
        .arg(deploy().join("admission/policies.yaml"))
        .arg(root.join("controller/tests/golden"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
