//! A cluster without objects.

use std::time::Duration;

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::objects::{Key, Kind, Object, Uid};
use serde_json::Value;

/// A cluster in which every read and every change answers 404. Only `create` succeeds.
#[derive(Debug)]
pub struct Empty;

fn missing() -> ApiError {
    ApiError { code: 404, reason: "NotFound".to_owned(), message: "not found".to_owned() }
}

impl Cluster for Empty {
    fn get(&self, _: Kind, _: &Key) -> Result<Object, ApiError> {
        Err(missing())
    }
    fn create(&self, _: Kind, _: &Value) -> Result<Object, ApiError> {
        Ok(Value::Null.into())
    }
    fn list(&self, _: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        Err(missing())
    }
    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(missing())
    }
    fn patch(&self, _: Kind, _: &Key, _: Part, _: &Value) -> Result<Object, ApiError> {
        Err(missing())
    }
    fn replace(&self, _: Kind, _: &Key, _: &Value) -> Result<Object, ApiError> {
        Err(missing())
    }
    fn delete(&self, _: Kind, _: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        Err(missing())
    }
    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(missing())
    }
}
