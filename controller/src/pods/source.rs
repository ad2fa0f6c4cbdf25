//! The source pod (contract 3.3).

use serde_json::{Value, json};

use super::frame::{Frame, annotations, attach, data_volume, labels, preallocation, push};
use super::{Clone, DEVICE, SOURCE_FOLDER};
use crate::annotations::{
    AUTHORITY, BANDWIDTH_LIMIT, CLONE_UNIQUE_ID, COMPONENT_SOURCE, CREATED_BY_CONTROLLER, OWNER_REF,
    PROMETHEUS, SOURCE_CONTAINER, SOURCE_POD_OF, STREAMS, TARGET_POD_UID, UPLOAD_TARGET,
};
use crate::names;
use crate::resource::claim::VolumeMode;
use crate::resource::{Claim, Pod};

/// Where the certificate of the metrics page is mounted.
const METRICS_FOLDER: &str = "/etc/metrics-tls";

/// The pod that sends to `target`. It reaches it by an alias for its address: no Service and no cluster DNS.
pub fn source_pod(clone: &Clone<'_>, target: &Pod, server_ca_pem: &str) -> Value {
    let (source, claim) = (clone.source, clone.target);
    let name = names::source_pod(&claim.metadata.uid);
    let mut labels = labels(COMPONENT_SOURCE, clone.policy);
    labels.insert(CLONE_UNIQUE_ID.to_owned(), name.clone().into());
    labels.insert(PROMETHEUS.to_owned(), "true".into());
    labels.insert(SOURCE_POD_OF.to_owned(), source.metadata.uid.as_str().into());
    let mut annotations = annotations(&claim.metadata, clone.policy);
    annotations.insert(CREATED_BY_CONTROLLER.to_owned(), "yes".into());
    annotations.insert(OWNER_REF.to_owned(), claim.metadata.key().to_string().into());
    annotations.insert(TARGET_POD_UID.to_owned(), target.metadata.uid.as_str().into());
    annotations.insert(AUTHORITY.to_owned(), clone.authority.into());
    let [_, _, host] = names::target_hosts(&target.metadata.name, &target.metadata.namespace);
    let mut container = json!({
        "name": SOURCE_CONTAINER,
        "env": environment(clone, &name, &host, server_ca_pem),
        "ports": [{ "name": "metrics", "containerPort": 8443, "protocol": "TCP" }],
    });
    attach(&mut container, source, SOURCE_FOLDER, true);
    push(
        &mut container["volumeMounts"],
        json!({ "name": "metrics-tls", "mountPath": METRICS_FOLDER, "readOnly": true }),
    );
    let items = json!([
        { "key": "metrics.crt", "path": "tls.crt" },
        { "key": "metrics.key", "path": "tls.key" },
    ]);
    let volumes = vec![
        data_volume(source),
        json!({ "name": "metrics-tls", "secret": { "secretName": name, "items": items } }),
    ];
    let namespace = &source.metadata.namespace;
    let mut pod = Frame { clone, name, namespace, labels, annotations, container, volumes }.pod();
    pod["spec"]["hostAliases"] = json!([{ "ip": target.status.pod_ip, "hostnames": [host] }]);
    pod["spec"]["affinity"] = json!({ "podAffinity": affinity(source, claim) });
    pod
}

/// The variables of contract 1.4 in the order of 3.3, then ours.
fn environment(clone: &Clone<'_>, secret: &str, host: &str, server_ca_pem: &str) -> Value {
    let (mode, mount) = match clone.source.spec.volume_mode {
        VolumeMode::Block => ("block", DEVICE),
        VolumeMode::Filesystem => ("filesystem", SOURCE_FOLDER),
    };
    let from_secret = |name: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } });
    let mut environment = json!([
        from_secret("CLIENT_KEY", "tls.key"),
        from_secret("CLIENT_CERT", "tls.crt"),
        { "name": "SERVER_CA_CERT", "value": server_ca_pem },
        { "name": "UPLOAD_URL", "value": format!("https://{host}:8443/v1beta1/upload") },
        { "name": "OWNER_UID", "value": clone.owner_uid },
        { "name": "PREALLOCATION", "value": preallocation(clone.target) },
        { "name": "VOLUME_MODE", "value": mode },
        { "name": "MOUNT_POINT", "value": mount },
        { "name": "METRICS_TLS_CERT_FILE", "value": format!("{METRICS_FOLDER}/tls.crt") },
        { "name": "METRICS_TLS_KEY_FILE", "value": format!("{METRICS_FOLDER}/tls.key") },
    ]);
    if let Some(limit) = clone.target.metadata.annotation(BANDWIDTH_LIMIT) {
        push(&mut environment, json!({ "name": "DECANT_LIMIT", "value": limit }));
    }
    if let Some(streams) = clone.target.metadata.annotation(STREAMS) {
        push(&mut environment, json!({ "name": "DECANT_STREAMS", "value": streams }));
    }
    environment
}

/// Near the target where possible; where a volume can only be on one node, there.
fn affinity(source: &Claim, claim: &Claim) -> Value {
    let mut affinity = json!({
        "preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": term(UPLOAD_TARGET, claim.metadata.uid.as_str(), &claim.metadata.namespace),
        }],
    });
    if source.spec.access_modes == ["ReadWriteOnce"] {
        let uid = source.metadata.uid.as_str();
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!([term(SOURCE_POD_OF, uid, &source.metadata.namespace)]);
    }
    affinity
}

fn term(label: &str, uid: &str, namespace: &str) -> Value {
    json!({
        "labelSelector": { "matchExpressions": [{ "key": label, "operator": "In", "values": [uid] }] },
        "namespaces": [namespace],
        "topologyKey": "kubernetes.io/hostname",
    })
}
