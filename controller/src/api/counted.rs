//! Counts the calls to the API server, for the metrics of the controller and for the test that its roles grant only
//! what it uses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use crate::objects::{Key, Kind, Object, Uid};

/// A kind of call with its result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The verb of RBAC roles: `get`, `list`, `watch`, `create`, `patch`, `update`, `delete`.
    pub verb: &'static str,
    /// The kind of object.
    pub kind: Kind,
    /// `status`, `proxy`, or empty for the object itself.
    pub subresource: &'static str,
    /// The HTTP status of a failure, 200 for success, 0 without a response.
    pub code: u16,
}

impl Call {
    /// The resource of RBAC roles, for example `datavolumes/status`.
    pub fn resource(&self) -> String {
        match self.subresource {
            "" => self.kind.plural().to_owned(),
            subresource => format!("{}/{subresource}", self.kind.plural()),
        }
    }
}

/// A cluster whose calls are counted.
#[derive(Debug)]
pub struct Counted<C> {
    inner: C,
    counts: Mutex<BTreeMap<Call, u64>>,
}

impl<C: Cluster> Counted<C> {
    /// Counts the calls to `inner`.
    pub fn new(inner: C) -> Self {
        Self { inner, counts: Mutex::default() }
    }

    /// All calls so far with their counts.
    pub fn calls(&self) -> Vec<(Call, u64)> {
        self.lock().iter().map(|(call, count)| (call.clone(), *count)).collect()
    }

    fn count<T>(
        &self,
        verb: &'static str,
        kind: Kind,
        subresource: &'static str,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let code = result.as_ref().err().map_or(200, |e| e.code);
        *self.lock().entry(Call { verb, kind, subresource, code }).or_default() += 1;
        result
    }

    /// The counts are consistent even if another thread panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Call, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Cluster> Cluster for Counted<C> {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.count("get", kind, "", self.inner.get(kind, key))
    }

    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        self.count("list", kind, "", self.inner.list(kind, params))
    }

    fn watch(
        &self,
        kind: Kind,
        params: &ListParams,
        resource_version: &str,
    ) -> Result<Box<dyn Watch>, ApiError> {
        self.count("watch", kind, "", self.inner.watch(kind, params, resource_version))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.count("create", kind, "", self.inner.create(kind, object))
    }

    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        let subresource = if part == Part::Status { "status" } else { "" };
        self.count("patch", kind, subresource, self.inner.patch(kind, key, part, patch))
    }

    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        self.count("update", kind, "", self.inner.replace(kind, key, object))
    }

    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        self.count("delete", kind, "", self.inner.delete(kind, key, uid, grace_secs))
    }

    fn pod_proxy(
        &self,
        pod: &Key,
        port: u16,
        path: &str,
        limit: Duration,
        limit_bytes: usize,
    ) -> Result<String, ApiError> {
        self.count("get", Kind::Pod, "proxy", self.inner.pod_proxy(pod, port, path, limit, limit_bytes))
    }
}
