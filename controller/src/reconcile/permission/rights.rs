//! Asks the API server whether a user may clone a claim (docs/protocol.md section 4.4).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::cluster::{ApiError, Cluster};
use crate::objects::{ClonedKind, Key, Kind, decode};
use crate::token::asker::Asker;

/// What is read of the response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccessReview {
    status: AccessReviewStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccessReviewStatus {
    allowed: bool,
    denied: bool,
}

/// Whether `asker` has the right to clone, or may create a pod that reads the claim `source`, which is equivalent; for a
/// snapshot also a claim that is restored from it. With an empty name the check is about all claims of the namespace.
pub(crate) fn may_clone(
    cluster: &dyn Cluster,
    asker: &Asker,
    source: &Key,
    kind: ClonedKind,
) -> Result<bool, ApiError> {
    let cloning = json!({
        "verb": "create", "group": "cdi.kubevirt.io", "resource": "datavolumes", "subresource": "source",
        "namespace": source.namespace, "name": source.name,
    });
    let pods = json!({
        "verb": "create", "group": "", "resource": "pods",
        "namespace": source.namespace, "name": source.name,
    });
    if may(cluster, asker, &cloning)? {
        return Ok(true);
    }
    let claims = json!({
        "verb": "create", "group": "", "resource": "persistentvolumeclaims", "namespace": source.namespace,
    });
    Ok(may(cluster, asker, &pods)? && (kind == ClonedKind::Claim || may(cluster, asker, &claims)?))
}

fn may(cluster: &dyn Cluster, asker: &Asker, attributes: &Value) -> Result<bool, ApiError> {
    let review = json!({
        "apiVersion": Kind::SubjectAccessReview.api_version(),
        "kind": Kind::SubjectAccessReview.name(),
        "metadata": {},
        "spec": asker.review_spec(attributes),
    });
    let answer = cluster.create(Kind::SubjectAccessReview, &review)?;
    // A response of another form allows nothing.
    let status = decode::<AccessReview>(answer).unwrap_or_default().status;
    Ok(status.allowed && !status.denied)
}
