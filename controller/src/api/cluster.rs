//! The calls to a cluster, all blocking.
//!
//! `client.rs` implements them. Tests implement the trait to cut the controller off between any two calls.

use std::time::Duration;

use serde_json::Value;

use crate::objects::{Key, Kind, Object, Uid};

/// [`ApiError::reason`] of a response that cannot be parsed.
pub(crate) const UNREADABLE: &str = "Unreadable";
/// [`ApiError::reason`] of a response that exceeds the length limit.
pub(crate) const TOO_LONG: &str = "TooLong";
/// [`ApiError::reason`] of a watch that ended.
pub(crate) const END_OF_WATCH: &str = "EndOfWatch";

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status; 0 without a response, or if it cannot be parsed.
    pub code: u16,
    /// `Status.reason` of Kubernetes, for example `AlreadyExists`, `Conflict`, `Forbidden`, `Expired`.
    pub reason: String,
    /// The message for users.
    pub message: String,
}

impl ApiError {
    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// An object with this name already exists.
    pub fn already_exists(&self) -> bool {
        self.code == 409 && self.reason == "AlreadyExists"
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason != "AlreadyExists"
    }

    /// The caller lacks the right.
    pub fn is_forbidden(&self) -> bool {
        self.code == 403
    }

    /// The request exceeds a quota.
    pub fn exceeds_quota(&self) -> bool {
        self.code == 403 && self.message.contains("exceeded quota")
    }

    /// The namespace is being deleted.
    pub fn namespace_is_terminating(&self) -> bool {
        self.code == 403 && self.message.contains("being terminated")
    }

    /// The resource version is too old; list again.
    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// The response exceeds the length limit; a list can be requested in smaller pages.
    pub fn is_too_long(&self) -> bool {
        self.code == 0 && self.reason == TOO_LONG
    }

    /// The server did not answer or is busy: retry later.
    pub fn is_temporary(&self) -> bool {
        matches!(self.code, 0 | 429 | 500 | 502 | 503 | 504)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            0 if matches!(self.reason.as_str(), UNREADABLE | TOO_LONG | END_OF_WATCH) => {
                f.write_str(&self.message)
            }
            0 => write!(f, "the API server cannot be reached: {}", self.message),
            code => write!(f, "{} ({code} {})", self.message, self.reason),
        }
    }
}

impl std::error::Error for ApiError {}

/// The part of an object to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Whole,
    /// The status alone, through `/status`.
    Status,
}

/// One page of a list.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// The objects as received.
    pub items: Vec<Object>,
    /// The version from which to watch.
    pub resource_version: String,
    /// The token of the next page; empty at the end.
    pub next: String,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// A label selector; empty for all.
    pub labels: String,
    /// A field selector; empty for all.
    pub fields: String,
    /// Objects in a page; 0 for no limit.
    pub limit: u32,
    /// The token from the previous page; empty for the first page.
    pub next: String,
}

/// What a watch reports.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    /// Added or changed.
    Applied(Object),
    /// Deleted; its last state.
    Deleted(Object),
    /// Nothing changed up to this resource version.
    Bookmark(String),
    /// The watch failed.
    Failed(ApiError),
}

/// A stream of changes. `next` blocks at most `limit`; `Ok(None)` means that nothing changed.
pub trait Watch: Send {
    /// The next change. The end of the stream is an error, to distinguish it from silence.
    fn next(&mut self, limit: Duration) -> Result<Option<WatchEvent>, ApiError>;
}

/// A cluster.
pub trait Cluster: Send + Sync + 'static {
    /// One object.
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError>;
    /// One page of objects.
    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError>;
    /// Changes after `resource_version`.
    fn watch(
        &self,
        kind: Kind,
        params: &ListParams,
        resource_version: &str,
    ) -> Result<Box<dyn Watch>, ApiError>;
    /// Creates an object in its namespace.
    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError>;
    /// The object that `create` would store. The API server checks it and stores nothing.
    fn dry_run(&self, _kind: Kind, object: &Value) -> Result<Object, ApiError> {
        Ok(Object::from(object.clone()))
    }
    /// Applies a JSON merge patch. With `metadata.resourceVersion` it fails if the object has changed.
    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError>;
    /// Replaces an object; its resource version must be the current one.
    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError>;
    /// Deletes the object if it still has this `uid`. `grace_secs` as in Kubernetes; `None` for the default of the
    /// object. A missing object is not an error.
    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError>;
    /// `GET path` on a port of a pod, over TLS, through the API server's proxy; at most `limit_bytes` of the body.
    fn pod_proxy(
        &self,
        pod: &Key,
        port: u16,
        path: &str,
        limit: Duration,
        limit_bytes: usize,
    ) -> Result<String, ApiError>;
}

/// Methods of [`Cluster`] that a test does not expect to be called.
#[cfg(test)]
macro_rules! not_expected {
    (@ get) => {
        fn get(&self, _: $crate::objects::Kind, _: &$crate::objects::Key) -> Result<$crate::objects::Object, $crate::api::cluster::ApiError> {
            panic!("get was not expected")
        }
    };
    (@ list) => {
        fn list(
            &self,
            _: $crate::objects::Kind,
            _: &$crate::api::cluster::ListParams,
        ) -> Result<$crate::api::cluster::ListPage, $crate::api::cluster::ApiError> {
            panic!("list was not expected")
        }
    };
    (@ watch) => {
        fn watch(
            &self,
            _: $crate::objects::Kind,
            _: &$crate::api::cluster::ListParams,
            _: &str,
        ) -> Result<Box<dyn $crate::api::cluster::Watch>, $crate::api::cluster::ApiError> {
            panic!("watch was not expected")
        }
    };
    (@ create) => {
        fn create(&self, _: $crate::objects::Kind, _: &serde_json::Value) -> Result<$crate::objects::Object, $crate::api::cluster::ApiError> {
            panic!("create was not expected")
        }
    };
    (@ patch) => {
        fn patch(
            &self,
            _: $crate::objects::Kind,
            _: &$crate::objects::Key,
            _: $crate::api::cluster::Part,
            _: &serde_json::Value,
        ) -> Result<$crate::objects::Object, $crate::api::cluster::ApiError> {
            panic!("patch was not expected")
        }
    };
    (@ replace) => {
        fn replace(
            &self,
            _: $crate::objects::Kind,
            _: &$crate::objects::Key,
            _: &serde_json::Value,
        ) -> Result<$crate::objects::Object, $crate::api::cluster::ApiError> {
            panic!("replace was not expected")
        }
    };
    (@ delete) => {
        fn delete(
            &self,
            _: $crate::objects::Kind,
            _: &$crate::objects::Key,
            _: &$crate::objects::Uid,
            _: Option<u32>,
        ) -> Result<(), $crate::api::cluster::ApiError> {
            panic!("delete was not expected")
        }
    };
    (@ pod_proxy) => {
        fn pod_proxy(
            &self,
            _: &$crate::objects::Key,
            _: u16,
            _: &str,
            _: std::time::Duration,
            _: usize,
        ) -> Result<String, $crate::api::cluster::ApiError> {
            panic!("pod_proxy was not expected")
        }
    };
    ($($method:ident),+) => {
        $($crate::api::cluster::not_expected!(@ $method);)+
    };
}
#[cfg(test)]
pub(crate) use not_expected;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_answer_is_told_from_an_absent_api_server() {
        let text = |reason: &str| {
            ApiError { code: 0, reason: reason.to_owned(), message: "m".to_owned() }.to_string()
        };
        assert_eq!(text("Timeout"), "the API server cannot be reached: m");
        for reason in [UNREADABLE, TOO_LONG, END_OF_WATCH] {
            assert_eq!(text(reason), "m");
        }
    }
}
