//! A cluster in memory for tests of the webhook and of permissions: objects and rights.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use crate::objects::{Key, Kind, Object, Uid};

/// The objects and rights.
#[derive(Default)]
pub(crate) struct Stub {
    pub(crate) objects: BTreeMap<(Kind, Key), Value>,
    /// User, `resource` or `resource/subresource`, namespace.
    pub(crate) rights: Vec<(String, String, String)>,
    /// Fails every check of rights, and every list.
    pub(crate) is_down: bool,
    /// The specs of all checks of rights.
    pub(crate) asked: Mutex<Vec<Value>>,
    /// The kinds that can be listed.
    pub(crate) served: Vec<Kind>,
    /// What was listed.
    pub(crate) listed: Mutex<Vec<ListParams>>,
    /// The number of objects that were read.
    pub(crate) gets: Mutex<usize>,
}

impl Stub {
    pub(crate) fn put(&mut self, kind: Kind, namespace: &str, name: &str, mut object: Value) {
        let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
        let metadata = metadata.as_object_mut().unwrap();
        metadata.insert("namespace".to_owned(), json!(namespace));
        metadata.insert("name".to_owned(), json!(name));
        self.objects.insert((kind, Key::new(namespace, name)), object);
    }

    pub(crate) fn grant(&mut self, user: &str, resource: &str, namespace: &str) {
        self.rights.push((user.to_owned(), resource.to_owned(), namespace.to_owned()));
    }
}

fn failure(code: u16, reason: &str) -> ApiError {
    ApiError { code, reason: reason.to_owned(), message: reason.to_owned() }
}

impl Cluster for Stub {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        *self.gets.lock().unwrap() += 1;
        self.objects
            .get(&(kind, key.clone()))
            .cloned()
            .map(Object::from)
            .ok_or_else(|| failure(404, "NotFound"))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        assert_eq!(kind, Kind::SubjectAccessReview);
        if self.is_down {
            return Err(failure(503, "ServiceUnavailable"));
        }
        let spec = object.get("spec").unwrap();
        self.asked.lock().unwrap().push(spec.clone());
        let text =
            |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut resource = text("/resourceAttributes/resource");
        if spec.pointer("/resourceAttributes/subresource").is_some() {
            resource = format!("{resource}/{}", text("/resourceAttributes/subresource"));
        }
        let right = (text("/user"), resource, text("/resourceAttributes/namespace"));
        let allowed = text("/resourceAttributes/verb") == "create" && self.rights.contains(&right);
        Ok(json!({"status": {"allowed": allowed}}).into())
    }

    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        if !self.served.contains(&kind) {
            return Err(failure(404, "NotFound"));
        }
        if self.is_down {
            return Err(failure(503, "ServiceUnavailable"));
        }
        self.listed.lock().unwrap().push(params.clone());
        let is_listed = |(of, key): &(Kind, Key)| {
            *of == kind && params.namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
        };
        let items =
            self.objects.iter().filter(|(id, _)| is_listed(id)).map(|(_, object)| object.clone().into());
        Ok(ListPage { items: items.collect(), ..ListPage::default() })
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        panic!("not expected")
    }

    fn patch(&self, _: Kind, _: &Key, _: Part, _: &Value) -> Result<Object, ApiError> {
        panic!("not expected")
    }

    fn replace(&self, _: Kind, _: &Key, _: &Value) -> Result<Object, ApiError> {
        panic!("not expected")
    }

    fn delete(&self, _: Kind, _: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        panic!("not expected")
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        panic!("not expected")
    }
}
