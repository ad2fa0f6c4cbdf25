//! The HTTP requests behind the calls of `cluster.rs`: method, path, query and body. No input or output here.

use http::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::cluster::{ApiError, ListParams, Part};
use crate::objects::{Key, Kind, Uid};

/// A request, or the reason why none can be made of the given names.
pub(crate) type Built = Result<Request<Vec<u8>>, ApiError>;

pub(crate) fn get(kind: Kind, key: &Key) -> Built {
    build(Method::GET, &object_path(kind, key)?, None)
}

pub(crate) fn list(kind: Kind, params: &ListParams) -> Built {
    let mut query = Query::new(kind.path(params.namespace.as_deref()));
    query.selectors(params);
    if params.limit > 0 {
        query.add("limit", &params.limit.to_string());
    }
    query.add("continue", &params.next);
    build(Method::GET, &query.0, None)
}

/// `secs`: after which time the server itself ends the watch.
pub(crate) fn watch(kind: Kind, params: &ListParams, resource_version: &str, secs: u64) -> Built {
    let mut query = Query::new(kind.path(params.namespace.as_deref()));
    query.selectors(params);
    query.add("watch", "1");
    query.add("allowWatchBookmarks", "true");
    query.add("timeoutSeconds", &secs.to_string());
    query.add("resourceVersion", resource_version);
    build(Method::GET, &query.0, None)
}

pub(crate) fn create(kind: Kind, object: &Value) -> Built {
    build(Method::POST, &collection(kind, object), Some(("application/json", object)))
}

/// Like [`create`], but nothing is made.
pub(crate) fn dry_run(kind: Kind, object: &Value) -> Built {
    let uri = format!("{}?dryRun=All", collection(kind, object));
    build(Method::POST, &uri, Some(("application/json", object)))
}

fn collection(kind: Kind, object: &Value) -> String {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    kind.path(namespace.map(encode).as_deref())
}

pub(crate) fn patch(kind: Kind, key: &Key, part: Part, patch: &Value) -> Built {
    let mut path = object_path(kind, key)?;
    if part == Part::Status {
        path.push_str("/status");
    }
    build(Method::PATCH, &path, Some(("application/merge-patch+json", patch)))
}

pub(crate) fn replace(kind: Kind, key: &Key, object: &Value) -> Built {
    build(Method::PUT, &object_path(kind, key)?, Some(("application/json", object)))
}

pub(crate) fn delete(kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Built {
    let options = DeleteOptions {
        api_version: "v1",
        kind: "DeleteOptions",
        preconditions: Preconditions { uid },
        grace_period_seconds: grace_secs,
    };
    build(Method::DELETE, &object_path(kind, key)?, Some(("application/json", &json!(options))))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    api_version: &'static str,
    kind: &'static str,
    preconditions: Preconditions<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<u32>,
}

#[derive(Serialize)]
struct Preconditions<'a> {
    uid: &'a Uid,
}

/// What the object owns stays.
pub(crate) fn delete_alone(kind: Kind, key: &Key, uid: &Uid) -> Built {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": { "uid": uid.as_str() },
        "propagationPolicy": "Orphan",
    });
    build(Method::DELETE, &object_path(kind, key)?, Some(("application/json", &options)))
}

/// `path` begins with a slash and is passed on as it is.
pub(crate) fn pod_proxy(pod: &Key, port: u16, path: &str) -> Built {
    let pods = Kind::Pod.path(Some(&encode(&pod.namespace)));
    build(Method::GET, &format!("{pods}/https:{}:{port}/proxy{path}", encode(&pod.name)), None)
}

/// The path of one object. The API server takes paths apart after it has decoded them, so an escaped slash is one as well: a
/// name with one would lead to something else, such as a subresource. No object has such a name, which is what the error says.
fn object_path(kind: Kind, key: &Key) -> Result<String, ApiError> {
    let is_segment = |name: &str| !matches!(name, "." | "..") && !name.contains(['/', '%']);
    if key.name.is_empty() || !is_segment(&key.name) || !is_segment(&key.namespace) {
        return Err(ApiError {
            code: 404,
            reason: "NotFound".to_owned(),
            message: format!("{} {:?} not found: no object can have this name", kind.name(), key.to_string()),
        });
    }
    let namespace = Some(encode(&key.namespace)).filter(|namespace| !namespace.is_empty());
    Ok(format!("{}/{}", kind.path(namespace.as_deref()), encode(&key.name)))
}

fn build(method: Method, uri: &str, body: Option<(&str, &Value)>) -> Built {
    let mut request = Request::builder().method(method).uri(uri).header("accept", "application/json");
    let mut bytes = Vec::new();
    if let Some((content_type, object)) = body {
        request = request.header("content-type", content_type);
        bytes = object.to_string().into_bytes();
    }
    request.body(bytes).map_err(|e| ApiError {
        code: 400,
        reason: "BadRequest".to_owned(),
        message: format!("no request can be made for {uri:?}: {e}"),
    })
}

/// A path that gets its query piece by piece.
struct Query(String);

impl Query {
    fn new(path: String) -> Self {
        Self(path)
    }

    fn selectors(&mut self, params: &ListParams) {
        self.add("labelSelector", &params.labels);
        self.add("fieldSelector", &params.fields);
    }

    /// An empty value is as good as none to the API server.
    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let joint = if self.0.contains('?') { '&' } else { '?' };
            self.0.push_str(&format!("{joint}{name}={}", encode(value)));
        }
    }
}

/// RFC 3986: everything but the unreserved characters is escaped.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            "/api/v1/namespaces/n/pods?labelSelector=app%3Dcontainerized-data-importer\
             &fieldSelector=metadata.name%3Da%2Cspec.x%21%3Db&limit=500&continue=tok%2Fen%3D"
        );
    }

    #[test]
    fn a_list_of_everything_has_no_query() {
        assert_eq!(
            uri(list(Kind::StorageClass, &ListParams::default())),
            "/apis/storage.k8s.io/v1/storageclasses"
        );
    }

    #[test]
    fn a_watch_asks_for_bookmarks_and_an_end() {
        assert_eq!(
            uri(watch(Kind::PersistentVolumeClaim, &ListParams::default(), "12", 290)),
            "/api/v1/persistentvolumeclaims?watch=1&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=12"
        );
    }

    #[test]
    fn an_object_of_the_cluster_has_no_namespace_in_its_path() {
        assert_eq!(uri(get(Kind::Namespace, &Key::new("", "n"))), "/api/v1/namespaces/n");
        let review = create(Kind::SubjectAccessReview, &json!({ "spec": {} }));
        assert_eq!(uri(review), "/apis/authorization.k8s.io/v1/subjectaccessreviews");
    }

    /// Provisioners are called so, and the API server would take the part behind an escaped slash for a subresource.
    #[test]
    fn an_impossible_object_name_is_not_found_without_a_request() {
        for name in ["kubernetes.io/no-provisioner", "rancher.io/local-path", "a%2Fb", "..", ".", ""] {
            let error = get(Kind::CsiDriver, &Key::new("", name)).unwrap_err();
            assert!(error.is_not_found(), "{name}: {error}");
        }
        assert!(get(Kind::PersistentVolumeClaim, &Key::new("../n", "a")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_status_is_a_merge_patch_of_its_own_path() {
        let built =
            patch(Kind::DataVolume, &Key::new("n", "a"), Part::Status, &json!({ "status": {} })).unwrap();
        assert_eq!(built.method(), Method::PATCH);
        assert_eq!(built.uri(), "/apis/cdi.kubevirt.io/v1beta1/namespaces/n/datavolumes/a/status");
        assert_eq!(built.headers()["content-type"], "application/merge-patch+json");
        assert_eq!(built.body(), br#"{"status":{}}"#);
    }

    #[test]
    fn a_delete_names_the_uid_and_the_grace() {
        let built = delete(Kind::Pod, &Key::new("n", "a"), &Uid::from("u"), Some(0)).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(body["preconditions"]["uid"], "u");
        assert_eq!(body["gracePeriodSeconds"], 0);
        let built = delete(Kind::Pod, &Key::new("n", "a"), &Uid::from("u"), None).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(body.get("gracePeriodSeconds"), None);
    }

    #[test]
    fn a_dry_run_says_so_and_a_lonely_delete_leaves_what_it_owned() {
        let object = json!({ "metadata": { "namespace": "n" } });
        assert_eq!(uri(dry_run(Kind::Pod, &object)), "/api/v1/namespaces/n/pods?dryRun=All");
        let built = delete_alone(Kind::DataVolume, &Key::new("n", "a"), &Uid::from("u")).unwrap();
        let body: Value = serde_json::from_slice(built.body()).unwrap();
        assert_eq!(
            (&body["propagationPolicy"], &body["preconditions"]["uid"]),
            (&json!("Orphan"), &json!("u"))
        );
    }

    #[test]
    fn the_pod_proxy_is_told_to_speak_tls() {
        assert_eq!(
            uri(pod_proxy(&Key::new("n", "p"), 8443, "/metrics")),
            "/api/v1/namespaces/n/pods/https:p:8443/proxy/metrics"
        );
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_place_in_the_path(name in ".{0,20}[/%a-z]{0,2}.{0,20}") {
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
