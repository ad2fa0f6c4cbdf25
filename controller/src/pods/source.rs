//! The source pod (docs/protocol.md section 3.3).

use serde_json::{Map, Value, json};

use crate::objects::annotations::{
    CLONE_UNIQUE_ID, CREATED_BY_CONTROLLER, PROMETHEUS, SOURCE_CONTAINER, SOURCE_POD_OF, STREAMS,
    UPLOAD_TARGET,
};
use crate::objects::claim::VolumeMode;
use crate::objects::names::NameStyle;
use crate::objects::{Claim, Key, Pod, names};
use crate::pods::clone_pods::{ClonePods, DEVICE, SOURCE_DIRECTORY};
use crate::pods::keys;
use crate::pods::role::Role;
use crate::pods::template::{PodTemplate, attach, data_volume, labels, limit, members, preallocation};

/// Where the certificate of the metrics page and the renewed keys are mounted.
const METRICS_DIRECTORY: &str = "/etc/metrics-tls";

/// The pod that sends to `target`. A host alias leads to the target's address, so neither a Service nor cluster DNS is
/// needed.
pub fn source_pod(clone: &ClonePods<'_>, target: &Pod, server_ca_pem: &str) -> Value {
    let source = clone.source;
    let claim = clone.target;
    let name = names::source_pod(&claim.metadata.uid);
    let pod = Key::new(&source.metadata.namespace, &name);
    let identity = clone.identity(Role::Source, pod, Some(&target.metadata.uid));
    let mut labels = labels(Role::Source, claim.style(), clone.policy);
    if claim.style() == NameStyle::Cdi {
        labels.insert(CLONE_UNIQUE_ID.to_owned(), name.clone().into());
        labels.insert(PROMETHEUS.to_owned(), "true".into());
    }
    labels.insert(SOURCE_POD_OF.to_owned(), source.metadata.uid.as_str().into());
    let host = names::target_host(&target.metadata.name, &target.metadata.namespace, &claim.metadata.uid);
    let mut container = members(json!({
        "name": SOURCE_CONTAINER,
        "env": environment(clone, &identity.keys, &host, server_ca_pem),
        "ports": [{ "name": "metrics", "containerPort": 8443, "protocol": "TCP" }],
    }));
    let mount = json!({ "name": "metrics-tls", "mountPath": METRICS_DIRECTORY, "readOnly": true });
    attach(&mut container, source, SOURCE_DIRECTORY, true, mount);
    let page = [
        keys::File { key: "metrics.crt", path: "tls.crt" },
        keys::File { key: "metrics.key", path: "tls.key" },
    ];
    // A user who may only fill a volume in another namespace does not choose networks and priorities in this one.
    let is_neighbour = source.metadata.namespace == claim.metadata.namespace;
    PodTemplate {
        clone,
        identity: &identity,
        ruled_by: if is_neighbour { &claim.metadata } else { &source.metadata },
        labels,
        annotations: Map::from_iter([(CREATED_BY_CONTROLLER.to_owned(), "yes".into())]),
        owners: Vec::new(),
        container,
        volumes: vec![
            data_volume(source, true),
            keys::volume("metrics-tls", Role::Source, &identity.keys, &page),
        ],
        affinity: json!({ "podAffinity": affinity(source, claim) }),
        spec: members(json!({
            "hostAliases": [{ "ip": target.status.pod_ip, "hostnames": [host] }],
        })),
    }
    .pod()
}

/// The variables of docs/protocol.md section 1.4 in the order of section 3.3, then Decant's own.
fn environment(clone: &ClonePods<'_>, secret: &str, host: &str, server_ca_pem: &str) -> Vec<Value> {
    let (mode, mount) = match clone.source.spec.volume_mode {
        VolumeMode::Block => ("block", DEVICE),
        VolumeMode::Filesystem => ("filesystem", SOURCE_DIRECTORY),
    };
    let from_secret = |name: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } });
    let mut environment = vec![
        from_secret("CLIENT_KEY", "tls.key"),
        from_secret("CLIENT_CERT", "tls.crt"),
        json!({ "name": "SERVER_CA_CERT", "value": server_ca_pem }),
        json!({ "name": "UPLOAD_URL", "value": format!("https://{host}:8443/v1beta1/upload") }),
        json!({ "name": "OWNER_UID", "value": clone.owner_uid }),
        json!({ "name": "PREALLOCATION", "value": preallocation(clone.target) }),
        json!({ "name": "VOLUME_MODE", "value": mode }),
        json!({ "name": "MOUNT_POINT", "value": mount }),
        json!({ "name": "METRICS_TLS_CERT_FILE", "value": format!("{METRICS_DIRECTORY}/tls.crt") }),
        json!({ "name": "METRICS_TLS_KEY_FILE", "value": format!("{METRICS_DIRECTORY}/tls.key") }),
        keys::variable(METRICS_DIRECTORY),
    ];
    environment.extend(limit(clone));
    if let Some(streams) = clone.target.metadata.annotation(STREAMS) {
        environment.push(json!({ "name": "DECANT_STREAMS", "value": streams }));
    }
    environment
}

/// Prefers the node of the target. For a source that is only ReadWriteOnce, it requires the node of the other source
/// pods of the same claim.
fn affinity(source: &Claim, claim: &Claim) -> Value {
    let near = json!([{
        "weight": 100,
        "podAffinityTerm": term(UPLOAD_TARGET, claim.metadata.uid.as_str(), &claim.metadata.namespace),
    }]);
    let mut affinity = required_affinity(source).unwrap_or_default();
    affinity.insert("preferredDuringSchedulingIgnoredDuringExecution".to_owned(), near);
    affinity.into()
}

/// The node of the other pods that read the same claim, if only one node can mount it.
pub(super) fn required_affinity(source: &Claim) -> Option<Map<String, Value>> {
    let there = term(SOURCE_POD_OF, source.metadata.uid.as_str(), &source.metadata.namespace);
    (source.spec.access_modes == ["ReadWriteOnce"])
        .then(|| members(json!({ "requiredDuringSchedulingIgnoredDuringExecution": [there] })))
}

fn term(label: &str, uid: &str, namespace: &str) -> Value {
    json!({
        "labelSelector": { "matchExpressions": [{ "key": label, "operator": "In", "values": [uid] }] },
        "namespaces": [namespace],
        "topologyKey": "kubernetes.io/hostname",
    })
}
