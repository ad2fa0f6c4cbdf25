//! The HTTP requests for the calls of `cluster.rs`, built by `kube::core`. No input or output here.

use http::Request;
use kube::core::params::{self, DeleteParams, GetParams, Patch, PatchParams, PostParams, WatchParams};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::api::cluster::{ApiError, ListParams, Part};
use crate::objects::{Key, Kind, Uid};

/// A request, or the reason why none can be built from the given names.
pub(crate) type Built = Result<Request<Vec<u8>>, ApiError>;

/// RFC 3986, section 2.3: everything but the unreserved characters is escaped.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) fn get(kind: Kind, key: &Key) -> Built {
    let object = ObjectPath::new(kind, key)?;
    built(object.collection.get(&object.name, &GetParams::default()))
}

pub(crate) fn list(kind: Kind, params: &ListParams) -> Built {
    let query = params::ListParams {
        label_selector: non_empty(&params.labels),
        field_selector: non_empty(&params.fields),
        limit: Some(params.limit).filter(|limit| *limit > 0),
        continue_token: non_empty(&params.next),
        ..params::ListParams::default()
    };
    built(collection(kind, params.namespace.as_deref().unwrap_or_default()).list(&query))
}

/// The API server ends the watch after `secs`.
pub(crate) fn watch(kind: Kind, params: &ListParams, resource_version: &str, secs: u32) -> Built {
    let query = WatchParams {
        label_selector: non_empty(&params.labels),
        field_selector: non_empty(&params.fields),
        timeout: Some(secs),
        ..WatchParams::default()
    };
    built(collection(kind, params.namespace.as_deref().unwrap_or_default()).watch(&query, resource_version))
}

pub(crate) fn create(kind: Kind, object: &Value) -> Built {
    post(kind, object, &PostParams::default())
}

/// Like [`create`], but the API server stores nothing.
pub(crate) fn dry_run(kind: Kind, object: &Value) -> Built {
    post(kind, object, &PostParams { dry_run: true, ..PostParams::default() })
}

fn post(kind: Kind, object: &Value, params: &PostParams) -> Built {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    built(collection(kind, namespace).create(params, object.to_string().into_bytes()))
}

pub(crate) fn patch(kind: Kind, key: &Key, part: Part, patch: &Value) -> Built {
    let ObjectPath { collection, name } = ObjectPath::new(kind, key)?;
    let patch = Patch::Merge(patch);
    built(match part {
        Part::Whole => collection.patch(&name, &PatchParams::default(), &patch),
        Part::Status => collection.patch_subresource("status", &name, &PatchParams::default(), &patch),
    })
}

pub(crate) fn replace(kind: Kind, key: &Key, object: &Value) -> Built {
    let ObjectPath { collection, name } = ObjectPath::new(kind, key)?;
    built(collection.replace(&name, &PostParams::default(), object.to_string().into_bytes()))
}

pub(crate) fn delete(kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Built {
    delete_with(kind, key, uid, DeleteParams { grace_period_seconds: grace_secs, ..DeleteParams::default() })
}

/// Deletes the object and keeps what it owns.
pub(crate) fn delete_alone(kind: Kind, key: &Key, uid: &Uid) -> Built {
    delete_with(kind, key, uid, DeleteParams::orphan())
}

fn delete_with(kind: Kind, key: &Key, uid: &Uid, params: DeleteParams) -> Built {
    let ObjectPath { collection, name } = ObjectPath::new(kind, key)?;
    let is_same = params::Preconditions { uid: Some(uid.0.clone()), resource_version: None };
    built(collection.delete(&name, &params.preconditions(is_same)))
}

/// `path` starts with a slash and is passed on unchanged.
pub(crate) fn pod_proxy(pod: &Key, port: u16, path: &str) -> Built {
    let ObjectPath { collection, name } = ObjectPath::new(Kind::Pod, pod)?;
    let uri = format!("{}/https:{name}:{port}/proxy{path}", collection.url_path);
    built(Request::get(uri).body(Vec::new()).map_err(kube::core::request::Error::BuildRequest))
}

fn collection(kind: Kind, namespace: &str) -> kube::core::Request {
    let namespace = non_empty(namespace).map(|namespace| encode(&namespace));
    kube::core::Request::new(kind.path(namespace.as_deref()))
}

struct ObjectPath {
    collection: kube::core::Request,
    /// The name as a path segment.
    name: String,
}

impl ObjectPath {
    /// The API server splits paths after it has decoded them, so an escaped slash separates segments too. A name with a
    /// slash would lead to another resource, such as a subresource. No object has such a name, so the error is "not
    /// found".
    fn new(kind: Kind, key: &Key) -> Result<Self, ApiError> {
        let is_segment = |name: &str| !matches!(name, "." | "..") && !name.contains(['/', '%']);
        if key.name.is_empty() || !is_segment(&key.name) || !is_segment(&key.namespace) {
            return Err(ApiError {
                code: 404,
                reason: "NotFound".to_owned(),
                message: format!(
                    "{} {:?} not found: no object can have this name",
                    kind.name(),
                    key.to_string()
                ),
            });
        }
        Ok(Self { collection: collection(kind, &key.namespace), name: encode(&key.name) })
    }
}

fn built(request: Result<Request<Vec<u8>>, kube::core::request::Error>) -> Built {
    request.map_err(|e| ApiError { code: 400, reason: "BadRequest".to_owned(), message: e.to_string() })
}

/// The API server treats an empty parameter like a missing one.
fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;
    use serde_json::json;

    fn uri(built: Built) -> String {
        built.unwrap().uri().to_string()
    }

    #[test]
    fn a_list_escapes_its_selectors() {
        let params = ListParams {
            namespace: Some("n".to_owned()),
            labels: "app=containerized-data-importer".to_owned(),
            fields: "metadata.name=a,spec.x!=b".to_owned(),
            limit: 500,
            next: "tok/en=".to_owned(),
        };
        assert_eq!(
            uri(list(Kind::Pod, &params)),
            "/api/v1/namespaces/n/pods?&fieldSelector=metadata.name%3Da%2Cspec.x%21%3Db\
             &labelSelector=app%3Dcontainerized-data-importer&limit=500&continue=tok%2Fen%3D"
        );
    }

    #[test]
    fn a_list_of_everything_has_an_empty_query() {
        assert_eq!(
            uri(list(Kind::StorageClass, &ListParams::default())),
            "/apis/storage.k8s.io/v1/storageclasses?"
        );
    }

    #[test]
    fn a_watch_requests_bookmarks_and_has_a_time_limit() {
        assert_eq!(
            uri(watch(Kind::PersistentVolumeClaim, &ListParams::default(), "12", 290)),
            "/api/v1/persistentvolumeclaims?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=12"
        );
    }

    #[test]
    fn a_cluster_scoped_object_has_no_namespace_in_its_path() {
        assert_eq!(uri(get(Kind::Namespace, &Key::new("", "n"))), "/api/v1/namespaces/n");
        let review = create(Kind::SubjectAccessReview, &json!({ "spec": {} }));
        assert_eq!(uri(review), "/apis/authorization.k8s.io/v1/subjectaccessreviews?");
    }

    /// Provisioners have such names, and the API server would take the part after an escaped slash for a subresource.
    #[test]
    fn an_impossible_object_name_is_not_found_without_a_request() {
        for name in ["kubernetes.io/no-provisioner", "rancher.io/local-path", "a%2Fb", "..", ".", ""] {
            let error = get(Kind::CsiDriver, &Key::new("", name)).unwrap_err();
            assert!(error.is_not_found(), "{name}: {error}");
        }
        assert!(get(Kind::PersistentVolumeClaim, &Key::new("../n", "a")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_status_patch_is_a_merge_patch_of_the_status_subresource() {
        let built =
            patch(Kind::DataVolume, &Key::new("n", "a"), Part::Status, &json!({ "status": {} })).unwrap();
        assert_eq!(built.method(), Method::PATCH);
        assert_eq!(built.uri(), "/apis/cdi.kubevirt.io/v1beta1/namespaces/n/datavolumes/a/status?");
        assert_eq!(built.headers()["content-type"], "application/merge-patch+json");
        assert_eq!(built.body(), br#"{"status":{}}"#);
    }

    #[test]
    fn a_delete_has_the_uid_and_the_grace_period() {
        let built = delete(Kind::Pod, &Key::new("n", "a"), &Uid::from("u"), Some(0)).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(body["preconditions"]["uid"], "u");
        assert_eq!(body["gracePeriodSeconds"], 0);
        let built = delete(Kind::Pod, &Key::new("n", "a"), &Uid::from("u"), None).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(body.get("gracePeriodSeconds"), None);
    }

    #[test]
    fn a_dry_run_is_marked_and_delete_alone_orphans_what_the_object_owned() {
        let object = json!({ "metadata": { "namespace": "n" } });
        assert_eq!(uri(dry_run(Kind::Pod, &object)), "/api/v1/namespaces/n/pods?&dryRun=All");
        let built = delete_alone(Kind::DataVolume, &Key::new("n", "a"), &Uid::from("u")).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(
            (&body["propagationPolicy"], &body["preconditions"]["uid"]),
            (&json!("Orphan"), &json!("u"))
        );
    }

    #[test]
    fn the_pod_proxy_uses_tls() {
        assert_eq!(
            uri(pod_proxy(&Key::new("n", "p"), 8443, "/metrics")),
            "/api/v1/namespaces/n/pods/https:p:8443/proxy/metrics"
        );
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_path_segment(name in ".{0,20}[/%a-z]{0,2}.{0,20}") {
            let is_possible = !name.contains(['/', '%']) && !["", ".", ".."].contains(&name.as_str());
            match get(Kind::Pod, &Key::new("n", name)) {
                Ok(built) => {
                    prop_assert!(is_possible);
                    prop_assert_eq!(built.uri().path().matches('/').count(), 6);
                    prop_assert_eq!(built.uri().query(), None);
                }
                Err(e) => prop_assert!(!is_possible && e.is_not_found()),
            }
        }
    }
}
