//! What flags and claims make of the pods' annotations and labels together.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use clap::Parser;
use decant_controller::cli::{Cli, Command};
use decant_controller::objects::{Claim, Pod, Uid, decode};
use decant_controller::pods::clone_pods::ClonePods;
use decant_controller::pods::identity::PodIdentity;
use decant_controller::pods::{direct, source, target};
use decant_controller::policy::Policy;
use decant_controller::token::key::TokenKey;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// What `controller run` makes of these flags.
fn policy(flags: &[&str]) -> Policy {
    match Cli::try_parse_from([&["controller", "run"], flags].concat()).unwrap().command {
        Command::Run(run) => run.policy(),
        Command::Webhook(_) | Command::Crds => unreachable!("the line says run"),
    }
}

fn claim(annotations: &Value) -> Claim {
    decode(json!({
        "metadata": { "namespace": "team", "name": "copy", "uid": "copy-uid", "annotations": annotations },
        "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                  "resources": { "requests": { "storage": "1Gi" } } },
    }))
    .unwrap()
}

/// Source and target pod of a clone into a claim with these annotations.
fn both_pods(flags: &[&str], annotations: &Value) -> [Value; 2] {
    let policy = policy(flags);
    let (source, target) = (claim(&json!({})), claim(annotations));
    let owner_uid = Uid::from("dv-uid");
    let clone = ClonePods {
        target: &target,
        source: &source,
        owner_uid: &owner_uid,
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    let overhead = decant_controller::reconcile::compatibility::overhead(&target, &policy);
    let running: Pod = decode(json!({
        "metadata": { "namespace": "team", "name": "cdi-upload-copy", "uid": "target-uid" },
        "status": { "podIP": "10.0.0.7" },
    }))
    .unwrap();
    [
        source::source_pod(&clone, &running, "(authority)"),
        target::target_pod(&clone, overhead, OffsetDateTime::UNIX_EPOCH),
    ]
}

/// The pod of a direct clone of a claim in the mode `from` into one in the mode `to` with these annotations.
fn direct_pod(flags: &[&str], annotations: &Value, from: &str, to: &str) -> Value {
    let policy = policy(flags);
    let with_mode = |annotations: &Value, name: &str, mode: &str| {
        let mut claim = claim(annotations);
        claim.metadata.name = name.to_owned();
        claim.metadata.uid = Uid::from(format!("{name}-uid").as_str());
        claim.spec.volume_mode = serde_json::from_value(json!(mode)).unwrap();
        claim
    };
    let clone = ClonePods {
        target: &with_mode(annotations, "copy", to),
        source: &with_mode(&json!({}), "golden", from),
        owner_uid: &Uid::from("dv-uid"),
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    direct::direct_pod(&clone, decant_controller::reconcile::compatibility::overhead(clone.target, &policy))
}

#[test]
fn a_direct_pod_gets_its_source_read_only_and_neither_keys_nor_a_token() {
    for from in ["Block", "Filesystem"] {
        for to in ["Block", "Filesystem"] {
            let pod = direct_pod(&[], &json!({}), from, to);
            let spec = &pod["spec"];
            assert_eq!(spec["automountServiceAccountToken"], false);
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
            let volumes = spec["volumes"].as_array().unwrap();
            let claims: Vec<Value> =
                volumes.iter().map(|volume| volume["persistentVolumeClaim"].clone()).collect();
            assert_eq!(
                claims,
                [json!({ "claimName": "copy" }), json!({ "claimName": "golden", "readOnly": true })]
            );
            let [container] = &spec["containers"].as_array().unwrap()[..] else { panic!("{spec:#}") };
            assert_eq!(container["args"], json!(["direct"]));
            assert_eq!(
                container["ports"],
                json!([{ "name": "metrics", "containerPort": 8443, "protocol": "TCP" }])
            );
            assert!(container.get("readinessProbe").is_none());
            let uses = |field: &str, path: &str| {
                let list = container[field].as_array().cloned().unwrap_or_default();
                list.into_iter().map(|one| (one["name"].clone(), one[path].clone())).collect::<Vec<_>>()
            };
            let all = [uses("volumeDevices", "devicePath"), uses("volumeMounts", "mountPath")].concat();
            let source = if from == "Block" { "/dev/decant-source" } else { "/var/run/cdi/clone/source" };
            let target = if to == "Block" { "/dev/cdi-block-volume" } else { "/data" };
            assert_eq!(all.len(), 2, "{all:?}");
            assert!(all.contains(&(json!("decant-source-vol"), json!(source))), "{all:?}");
            assert!(all.contains(&(json!("cdi-data-vol"), json!(target))), "{all:?}");
            let environment = container["env"].as_array().unwrap();
            let references =
                environment.iter().filter_map(|variable| variable.get("valueFrom")).collect::<Vec<_>>();
            let own_uid = json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.uid" } });
            assert_eq!(references, [&own_uid], "only its own UID is filled in");
            assert!(environment.contains(&json!({ "name": "MOUNT_POINT", "value": source })));
            let meta: Pod = decode(pod.clone()).unwrap();
            assert!(meta.is_direct(), "{pod:#}");
            assert!(PodIdentity::of(&meta.metadata, &TokenKey::new(&[7; 32])).is_some(), "{pod:#}");
        }
    }
}

#[test]
fn settings_reach_a_direct_pod_and_cannot_override_its_identity() {
    let annotations = json!({
        "decant.dev/bandwidth-limit": "50MiB/s", "decant.dev/verify": "readback",
        "cdi.kubevirt.io/storage.pod.priorityclassname": "low", "decant.dev/keys": "x", "decant.dev/proof": "x",
    });
    let flags = ["--pod-annotations", r#"{"decant.dev/keys":"x"}"#, "--label", "decant.dev/role=target"];
    let pod = direct_pod(&flags, &annotations, "Block", "Block");
    assert_eq!(pod["metadata"]["labels"]["decant.dev/role"], "direct");
    assert_eq!(pod["metadata"]["annotations"]["decant.dev/keys"], "");
    assert_eq!(pod["spec"]["priorityClassName"], "low");
    let environment = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(environment.contains(&json!({ "name": "DECANT_LIMIT", "value": "50MiB/s" })));
    assert!(environment.contains(&json!({ "name": "DECANT_VERIFY", "value": "readback" })));
    let of_target: Pod = decode(both_pods(&[], &json!({}))[1].clone()).unwrap();
    assert!(!of_target.is_direct());
    // The seal is over the keys: a pod of two does not become a direct one, nor the reverse.
    let mut changed = of_target.metadata;
    changed.annotations.insert("decant.dev/keys".to_owned(), String::new());
    assert!(PodIdentity::of(&changed, &TokenKey::new(&[7; 32])).is_none());
}

#[track_caller]
fn assert_both(pods: &[Value; 2], kind: &str, name: &str, value: &str) {
    for pod in pods {
        assert_eq!(pod["metadata"][kind][name], value, "{name} of {}", pod["metadata"]["name"]);
    }
}

#[test]
fn both_pods_have_the_configured_annotations_and_labels() {
    let annotations =
        r#"{"cluster-autoscaler.kubernetes.io/safe-to-evict":"false","example.com/list":"a,b={\"c\":1}"}"#;
    let pods = both_pods(&["--pod-annotations", annotations, "--label", "team=storage"], &json!({}));
    assert_both(&pods, "annotations", "cluster-autoscaler.kubernetes.io/safe-to-evict", "false");
    assert_both(&pods, "annotations", "example.com/list", r#"a,b={"c":1}"#);
    assert_both(&pods, "labels", "team", "storage");
}

#[test]
fn mesh_injection_is_off_unless_flags_or_the_claim_enable_it() {
    let operator = ["--pod-annotations", r#"{"sidecar.istio.io/inject":"true"}"#];
    let user = json!({ "sidecar.istio.io/inject": "maybe" });
    assert_both(&both_pods(&[], &json!({})), "annotations", "sidecar.istio.io/inject", "false");
    assert_both(&both_pods(&operator, &json!({})), "annotations", "sidecar.istio.io/inject", "true");
    assert_both(&both_pods(&operator, &user), "annotations", "sidecar.istio.io/inject", "maybe");
    assert_both(&both_pods(&operator, &user), "annotations", "linkerd.io/inject", "disabled");
}

#[test]
fn only_annotations_that_cdi_passes_on_are_copied_from_the_claim() {
    let pods = both_pods(&[], &json!({ "k8s.v1.cni.cncf.io/networks": "fast", "example.com/mine": "1" }));
    assert_both(&pods, "annotations", "k8s.v1.cni.cncf.io/networks", "fast");
    for pod in &pods {
        assert_eq!(pod["metadata"]["annotations"]["example.com/mine"], Value::Null);
    }
}

#[test]
fn settings_cannot_override_the_controllers_labels_and_annotations() {
    let annotations = r#"{"decant.dev/authority":"x","decant.dev/target-pod-uid":"x","decant.dev/proof":"x","decant.dev/keys":"x"}"#;
    let labels = ["--label", "app=x", "--label", "cdi.kubevirt.io=x"];
    let pods = both_pods(&[["--pod-annotations", annotations].as_slice(), &labels].concat(), &json!({}));
    assert_both(&pods, "annotations", "decant.dev/authority", "1-2");
    assert_eq!(pods[0]["metadata"]["annotations"]["decant.dev/target-pod-uid"], "target-uid");
    for pod in &pods {
        let meta: Pod = decode(pod.clone()).unwrap();
        assert!(PodIdentity::of(&meta.metadata, &TokenKey::new(&[7; 32])).is_some(), "{pod:#}");
    }
    assert_both(&pods, "labels", "app", "containerized-data-importer");
    assert_eq!(pods[0]["metadata"]["labels"]["cdi.kubevirt.io"], "cdi-clone-source");
    assert_eq!(pods[1]["metadata"]["labels"]["cdi.kubevirt.io"], "cdi-upload-server");
}

#[test]
fn a_source_in_another_namespace_decides_its_pods_networks_and_priority() {
    let policy = policy(&[]);
    let annotations = |value: &str| {
        json!({ "k8s.v1.cni.cncf.io/networks": value, "sidecar.istio.io/inject": value,
                "cdi.kubevirt.io/storage.pod.priorityclassname": value })
    };
    let mut source = claim(&annotations("sources"));
    source.metadata.namespace = "golden".to_owned();
    let target = claim(&annotations("targets"));
    let seal = TokenKey::new(&[7; 32]);
    let clone = ClonePods {
        target: &target,
        source: &source,
        owner_uid: &Uid::from("dv-uid"),
        policy: &policy.pods,
        authority: "1-2",
        seal: &seal,
        nonce: "0123456789abcdef",
    };
    let overhead = decant_controller::reconcile::compatibility::overhead(&target, &policy);
    let running: Pod =
        decode(json!({ "metadata": { "namespace": "team", "name": "cdi-upload-copy", "uid": "u" } }))
            .unwrap();
    for (pod, whose) in [
        (source::source_pod(&clone, &running, ""), "sources"),
        (target::target_pod(&clone, overhead, OffsetDateTime::UNIX_EPOCH), "targets"),
    ] {
        assert_eq!(pod["spec"]["priorityClassName"], whose);
        for name in ["k8s.v1.cni.cncf.io/networks", "sidecar.istio.io/inject"] {
            assert_eq!(pod["metadata"]["annotations"][name], whose, "{name}");
        }
    }
}

#[test]
fn the_source_volume_and_both_root_filesystems_are_read_only() {
    let [source, target] = both_pods(&[], &json!({}));
    let volume = |pod: &Value| {
        let volumes = pod["spec"]["volumes"].as_array().unwrap().clone();
        volumes.into_iter().find(|volume| volume["name"] == "cdi-data-vol").unwrap()
    };
    assert_eq!(volume(&source)["persistentVolumeClaim"]["readOnly"], true);
    assert_eq!(volume(&target)["persistentVolumeClaim"].get("readOnly"), None);
    for pod in [source, target] {
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

#[test]
fn pod_annotations_that_are_not_strings_are_refused_at_startup() {
    for wrong in [r#"{"sidecar.istio.io/inject":false}"#, "inject=false", "[]"] {
        let line = ["controller", "run", "--pod-annotations", wrong];
        let error = Cli::try_parse_from(line).expect_err("it is refused").to_string();
        assert!(error.contains("not a JSON object of strings"), "{error}");
    }
}

/// The operator's and the user's placement, labels and annotations.
const OPERATOR: [&str; 6] = [
    "--node-selector",
    "disk=hdd,arch=amd64",
    "--tolerations",
    r#"[{"key":"gpu","operator":"Exists","effect":"NoSchedule"}]"#,
    "--label",
    "team=storage",
];

fn chosen() -> Value {
    let placement = json!({
        "nodeSelector": { "disk": "ssd" },
        "tolerations": [{ "key": "spot", "operator": "Exists" }],
        "affinity": {
            "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] }] } },
            "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "rack" }] },
        },
    });
    json!({
        "decant.dev/placement": placement.to_string(),
        "decant.dev/pod-labels": r#"{"team":"web","istio.io/dataplane-mode":"ambient"}"#,
        "decant.dev/pod-annotations": r#"{"example.com/mine":"1","linkerd.io/inject":"enabled"}"#,
    })
}

#[test]
fn every_pod_of_a_clone_gets_the_placement_of_its_user_besides_that_of_the_operator() {
    for pod in &both_pods(&OPERATOR, &chosen()) {
        let spec = &pod["spec"];
        assert_eq!(spec["nodeSelector"], json!({ "disk": "ssd", "arch": "amd64" }), "{pod:#}");
        let keys: Vec<_> =
            spec["tolerations"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
        assert_eq!(keys, ["gpu", "spot"]);
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let terms = &spec["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"][0]["key"], "zone");
        assert_eq!(spec["affinity"]["podAffinity"][required][0]["topologyKey"], "rack");
    }
    let [source, _] = both_pods(&OPERATOR, &chosen());
    let pods = &source["spec"]["affinity"]["podAffinity"];
    let count = |list: &str| pods[list].as_array().unwrap().len();
    let near_the_other_sources = 1;
    assert_eq!(count("requiredDuringSchedulingIgnoredDuringExecution"), 1 + near_the_other_sources);
    assert_eq!(count("preferredDuringSchedulingIgnoredDuringExecution"), 1, "near the target");
    for pod in &both_pods(&OPERATOR[..4], &json!({})) {
        assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "hdd", "arch": "amd64" }));
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn labels_and_annotations_of_the_user_replace_those_of_the_operator_and_the_defaults() {
    let pods = both_pods(&OPERATOR, &chosen());
    assert_both(&pods, "labels", "team", "web");
    assert_both(&pods, "labels", "istio.io/dataplane-mode", "ambient");
    assert_both(&pods, "annotations", "example.com/mine", "1");
    assert_both(&pods, "annotations", "linkerd.io/inject", "enabled");
}

#[test]
fn the_pods_are_in_no_mesh_by_default() {
    let pods = both_pods(&[], &json!({}));
    assert_both(&pods, "labels", "istio.io/dataplane-mode", "none");
    assert_both(&pods, "labels", "kuma.io/sidecar-injection", "disabled");
    assert_both(&pods, "annotations", "consul.hashicorp.com/connect-inject", "false");
    let pods = both_pods(&["--label", "istio.io/dataplane-mode=ambient"], &json!({}));
    assert_both(&pods, "labels", "istio.io/dataplane-mode", "ambient");
    let pods = both_pods(&[], &json!({ "consul.hashicorp.com/connect-inject": "true" }));
    assert_both(&pods, "annotations", "consul.hashicorp.com/connect-inject", "true");
}

#[test]
fn a_source_pod_in_another_namespace_gets_only_the_choice_of_nodes() {
    let policy = policy(&OPERATOR);
    let mut source = claim(&chosen());
    source.metadata.namespace = "golden".to_owned();
    source.spec.access_modes = vec!["ReadOnlyMany".to_owned()];
    let target = claim(&chosen());
    let clone = ClonePods {
        target: &target,
        source: &source,
        owner_uid: &Uid::from("dv-uid"),
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    let running: Pod =
        decode(json!({ "metadata": { "namespace": "team", "name": "cdi-upload-copy", "uid": "u" } }))
            .unwrap();
    let pod = source::source_pod(&clone, &running, "");
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "ssd", "arch": "amd64" }));
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1, "only the operator's");
    let affinity = &pod["spec"]["affinity"];
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    assert!(affinity["nodeAffinity"][required].is_object());
    assert!(affinity["podAffinity"].get(required).is_none(), "{affinity}");
    assert_eq!(pod["metadata"]["labels"]["team"], "storage");
    assert_eq!(pod["metadata"]["labels"]["istio.io/dataplane-mode"], "none");
    assert_eq!(pod["metadata"]["annotations"].get("example.com/mine"), None);
}

#[test]
fn a_direct_pod_has_both_the_placement_of_its_user_and_the_node_of_the_other_source_pods() {
    let policy = policy(&[]);
    let (source, target) = (claim(&json!({})), claim(&chosen()));
    let clone = ClonePods {
        target: &target,
        source: &source,
        owner_uid: &Uid::from("dv-uid"),
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    let overhead = decant_controller::reconcile::compatibility::overhead(&target, &policy);
    let pod = direct::direct_pod(&clone, overhead);
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "ssd" }));
    let near = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(near.as_array().unwrap().len(), 2);
}
