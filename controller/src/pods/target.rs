//! The target pod (docs/protocol.md section 3.4).

use decant_shared::protocol::units::Overhead;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::annotations::{
    CREATED_BY_UPLOAD_CONTROLLER, READBACK, SERVICE_ACCOUNT, TARGET_CONTAINER, UPLOAD_TARGET, VERIFY,
};
use crate::objects::claim::VolumeMode;
use crate::objects::{Key, names};
use crate::pods::clone_pods::{ClonePods, DEVICE};
use crate::pods::keys;
use crate::pods::role::Role;
use crate::pods::template::{PodTemplate, attach, data_volume, labels, members, preallocation};

/// Where the keys are mounted.
const KEYS_DIRECTORY: &str = "/etc/tls/";

/// The pod that receives. It gives up if no source connects before `deadline`.
pub fn target_pod(clone: &ClonePods<'_>, overhead: Overhead, deadline: OffsetDateTime) -> Value {
    let claim = clone.target;
    let name = names::target_pod(&claim.metadata.name);
    let pod = Key::new(&claim.metadata.namespace, &name);
    let identity = clone.identity(Role::Target, pod, None);
    let mut labels = labels(Role::Target, claim.style(), clone.policy);
    labels.insert("service".to_owned(), names::service(&name).into());
    labels.insert(UPLOAD_TARGET.to_owned(), claim.metadata.uid.as_str().into());
    let mut container = members(json!({
        "name": TARGET_CONTAINER,
        "args": ["-v=1"],
        "env": environment(clone, overhead, deadline),
        "readinessProbe": {
            "httpGet": { "scheme": "HTTPS", "path": "/healthz", "port": 8443 },
            "initialDelaySeconds": 2,
            "periodSeconds": 5,
        },
    }));
    let mount = json!({ "name": "tls-config", "mountPath": KEYS_DIRECTORY, "readOnly": true });
    attach(&mut container, claim, "/data", false, mount);
    let files = ["tls.key", "tls.crt", "ca.crt"].map(|name| keys::File { key: name, path: name });
    let account = claim.metadata.annotation(SERVICE_ACCOUNT);
    PodTemplate {
        clone,
        identity: &identity,
        ruled_by: &claim.metadata,
        labels,
        annotations: Map::from_iter([
            (CREATED_BY_UPLOAD_CONTROLLER.to_owned(), "yes".into()),
            ("k8s.ovn.org/open-default-ports".to_owned(), r#"[{"protocol":"tcp","port":8443}]"#.into()),
        ]),
        owners: vec![json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.metadata.name,
            "uid": claim.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        })],
        container,
        volumes: vec![
            keys::volume("tls-config", Role::Target, &identity.keys, &files),
            data_volume(claim, false),
        ],
        affinity: Value::Null,
        spec: account.map(|name| ("serviceAccountName".to_owned(), name.into())).into_iter().collect(),
    }
    .pod()
}

/// The variables of docs/protocol.md section 2.2, in its order.
fn environment(clone: &ClonePods<'_>, overhead: Overhead, deadline: OffsetDateTime) -> Vec<Value> {
    let claim = clone.target;
    let client = names::client(&clone.source.metadata.uid, &claim.metadata.uid);
    let mut env = vec![
        json!({ "name": "TLS_KEY_FILE", "value": "/etc/tls/tls.key" }),
        json!({ "name": "TLS_CERT_FILE", "value": "/etc/tls/tls.crt" }),
        json!({ "name": "CLIENT_CERT_FILE", "value": "/etc/tls/ca.crt" }),
        json!({ "name": "FILESYSTEM_OVERHEAD", "value": overhead.to_string() }),
        json!({ "name": "UPLOAD_IMAGE_SIZE", "value": claim.requested().unwrap_or_default() }),
        json!({ "name": "CLIENT_NAME", "value": client }),
        json!({ "name": "PREALLOCATION", "value": preallocation(claim) }),
        json!({ "name": "TLS_CIPHERS", "value": clone.policy.tls_ciphers }),
        json!({ "name": "TLS_MIN_VERSION", "value": clone.policy.tls_min_version }),
        // Formatting fails only for a year beyond 9999.
        json!({ "name": "DEADLINE", "value": deadline.format(&Rfc3339).unwrap_or_default() }),
        keys::variable(KEYS_DIRECTORY),
    ];
    if claim.spec.volume_mode == VolumeMode::Block {
        env.push(json!({ "name": "DESTINATION", "value": DEVICE }));
    }
    if claim.metadata.annotation(VERIFY) == Some(READBACK) {
        env.push(json!({ "name": "DECANT_VERIFY", "value": READBACK }));
    }
    env
}
