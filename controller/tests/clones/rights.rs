//! The controllers of these tests have the rights of `controller/deploy/base/rbac.yaml` and no others; their calls to the
//! API server are noted, and compared with the role at the end.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kubectl::kubectl;

const USER: &str = "system:serviceaccount:decant-system:decant-controller";
/// Only asked for by clusters that check who may keep an owner from being deleted; this one does not.
const NOT_SEEN: [&str; 3] =
    ["update datavolumes/finalizers", "update persistentvolumeclaims/finalizers", "update pods/finalizers"];

/// Where the calls are noted; scripts/on_cluster.sh names it.
fn notes() -> Option<PathBuf> {
    std::env::var_os("DECANT_CALLS_FILE").map(PathBuf::from)
}

/// The role of the controller's own namespace, for the namespace of a test.
pub(crate) fn grant_own_role(namespace: &str) {
    for kind in ["role", "rolebinding"] {
        let text = kubectl(&["-n", "decant-system", "get", kind, "decant-controller", "-o", "json"], None);
        let mut object: Value = serde_json::from_str(&text).unwrap();
        object["metadata"] = json!({ "name": "decant-controller", "namespace": namespace });
        kubectl(&["apply", "-f", "-"], Some(&object));
    }
}

/// The administrator's kubeconfig, acting as the controller; with another address of the API server if `server` names one.
pub(crate) fn write_kubeconfig(path: &Path, server: Option<&str>) {
    let text = kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"], None);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = USER.into();
    if let Some(server) = server {
        config["clusters"][0]["cluster"] = json!({ "server": server });
    }
    std::fs::write(path, config.to_string()).unwrap();
}

/// Adds what the controller at `pages` asked for to the notes.
pub(crate) fn note_calls(pages: SocketAddr) {
    // A controller that has ended serves no page.
    let Ok(mut page) = ureq::get(format!("http://{pages}/metrics")).call() else { return };
    note_page(&page.body_mut().read_to_string().unwrap());
}

/// How often the controller at `pages` asked for this and got it.
pub(crate) fn calls(pages: SocketAddr, verb: &str, resource: &str) -> u64 {
    let page =
        ureq::get(format!("http://{pages}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
    let series = format!("decant_api_calls_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"200\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

/// Adds the calls on a metrics page to the notes.
pub(crate) fn note_page(page: &str) {
    let Some(notes) = notes() else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(notes).unwrap();
    for line in page.lines().filter_map(|line| line.strip_prefix("decant_api_calls_total{")) {
        writeln!(file, "{line}").unwrap();
    }
}

/// `verb resource` of the noted calls that ended with `code`.
fn noted(text: &str, code: &str) -> BTreeSet<String> {
    let label = |line: &str, name: &str| {
        let rest = line.split(&format!("{name}=\"")).nth(1)?;
        rest.split('"').next().map(str::to_owned)
    };
    text.lines()
        .filter(|line| label(line, "code").as_deref() == Some(code))
        .filter_map(|line| Some(format!("{} {}", label(line, "verb")?, label(line, "resource")?)))
        .collect()
}

fn granted() -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for args in [
        ["get", "clusterrole", "decant-controller"],
        ["get", "clusterrole", "decant-cluster"],
        ["get", "clusterrole", "decant-proxy"],
        ["get", "role", "decant-controller"],
        ["get", "clusterrole", "decant-webhook"],
        ["get", "role", "decant-webhook"],
    ] {
        let text = kubectl(&[&["-n", "decant-system", "-o", "json"], &args[..]].concat(), None);
        let role: Value = serde_json::from_str(&text).unwrap();
        for rule in role["rules"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    granted.insert(format!("{} {}", verb.as_str().unwrap(), resource.as_str().unwrap()));
                }
            }
        }
    }
    granted
}

#[test]
fn every_granted_right_is_used_and_no_call_is_forbidden() {
    let notes = notes().expect("DECANT_CALLS_FILE names no notes: scripts/on_cluster.sh");
    let text = std::fs::read_to_string(notes).expect("no test ran before this one");
    let (used, refused) = (noted(&text, "200"), noted(&text, "403"));
    let idle: Vec<String> =
        granted().difference(&used).filter(|right| !NOT_SEEN.contains(&right.as_str())).cloned().collect();
    assert!(idle.is_empty(), "the role is wider than needed: {idle:?}");
    // What a quota or a namespace on its way out refused was granted at another time.
    let missing: Vec<&String> = refused.difference(&used).collect();
    assert!(missing.is_empty(), "the role lacks: {missing:?}");
}
