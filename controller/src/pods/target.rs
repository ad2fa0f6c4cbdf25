//! The target pod (contract 3.4).

use decant_shared::units::Overhead;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::frame::{Frame, annotations, attach, data_volume, labels, preallocation};
use super::{Clone, DEVICE};
use crate::annotations::{
    AUTHORITY, COMPONENT_TARGET, CREATED_BY_UPLOAD_CONTROLLER, READBACK, SERVICE_ACCOUNT, TARGET_CONTAINER,
    UPLOAD_TARGET, VERIFY,
};
use crate::names;
use crate::resource::claim::VolumeMode;

/// What the Intermediate profile allows (contract 2.5).
pub(crate) const INTERMEDIATE_CIPHERS: &str = "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,\
    ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,\
    ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305";

/// The pod that receives. `deadline`: until when it waits for a source before it gives up.
pub fn target_pod(clone: &Clone<'_>, overhead: Overhead, deadline: OffsetDateTime) -> Value {
    let claim = clone.target;
    let name = names::target_pod(&claim.metadata.name);
    let mut labels = labels(COMPONENT_TARGET, clone.policy);
    labels.insert("service".to_owned(), names::service(&name).into());
    labels.insert(UPLOAD_TARGET.to_owned(), claim.metadata.uid.as_str().into());
    let mut annotations = annotations(&claim.metadata, clone.policy);
    annotations.insert(CREATED_BY_UPLOAD_CONTROLLER.to_owned(), "yes".into());
    annotations.insert(AUTHORITY.to_owned(), clone.authority.into());
    annotations
        .insert("k8s.ovn.org/open-default-ports".to_owned(), r#"[{"protocol":"tcp","port":8443}]"#.into());
    let mut container = json!({
        "name": TARGET_CONTAINER,
        "args": ["-v=1"],
        "env": environment(clone, overhead, deadline),
        "readinessProbe": {
            "httpGet": { "scheme": "HTTPS", "path": "/healthz", "port": 8443 },
            "initialDelaySeconds": 2,
            "periodSeconds": 5,
        },
        "volumeMounts": [{ "name": "tls-config", "mountPath": "/etc/tls/", "readOnly": true }],
    });
    attach(&mut container, claim, "/data", false);
    let volumes = vec![json!({ "name": "tls-config", "secret": { "secretName": name } }), data_volume(claim)];
    let namespace = &claim.metadata.namespace;
    let mut pod = Frame { clone, name, namespace, labels, annotations, container, volumes }.pod();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.metadata.name,
        "uid": claim.metadata.uid, "controller": true, "blockOwnerDeletion": true,
    }]);
    if let Some(account) = claim.metadata.annotation(SERVICE_ACCOUNT) {
        pod["spec"]["serviceAccountName"] = account.into();
    }
    pod
}

/// The variables of contract 2.2, in its order.
fn environment(clone: &Clone<'_>, overhead: Overhead, deadline: OffsetDateTime) -> Value {
    let claim = clone.target;
    let client = names::client(&clone.source.metadata.key(), &claim.metadata.key());
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
        // A year beyond 9999 is the only time that cannot be written.
        json!({ "name": "DEADLINE", "value": deadline.format(&Rfc3339).unwrap_or_default() }),
    ];
    if claim.spec.volume_mode == VolumeMode::Block {
        env.push(json!({ "name": "DESTINATION", "value": DEVICE }));
    }
    if claim.metadata.annotation(VERIFY) == Some(READBACK) {
        env.push(json!({ "name": "DECANT_VERIFY", "value": READBACK }));
    }
    Value::Array(env)
}
