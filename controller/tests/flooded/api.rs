//! An API server in memory: empty lists, and Secrets that can be made and read.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use decant_shared::net::conn::ConnError;
use decant_shared::net::dial;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

/// For a body that is on its way.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    stop: Stop,
    _server: Server,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = dial::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let service = Arc::new(Objects::default());
        let server = Server::start("api", listener, None, Limits::default(), service, stop.clone()).unwrap();
        Self { address, stop, _server: server }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Default)]
struct Objects(Mutex<HashMap<String, Value>>);

impl Service for Objects {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let path = exchange.request.path.clone();
        let is_collection = [
            "datavolumes",
            "datasources",
            "persistentvolumeclaims",
            "pods",
            "clonesources",
            "volumeclonesources",
        ]
        .iter()
        .any(|plural| path.ends_with(&format!("/{plural}")));
        let (status, answer) = match exchange.request.method.as_str() {
            "GET" if is_collection => (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [] })),
            "GET" => self.0.lock().unwrap().get(&path).map_or((404, missing()), |found| (200, found.clone())),
            "POST" => {
                let mut made: Value = serde_json::from_slice(&body(exchange)?).unwrap();
                made["metadata"]["resourceVersion"] = "1".into();
                made["metadata"]["uid"] = "uid".into();
                let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.0.lock().unwrap().insert(format!("{path}/{name}"), made.clone());
                (201, made)
            }
            _ => (404, missing()),
        };
        exchange.answer(status, "application/json", &answer.to_string())
    }
}

fn missing() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "not found" })
}

fn body(exchange: &mut Exchange) -> Result<Vec<u8>, ConnError> {
    let mut body = exchange.body()?;
    let mut whole = Vec::new();
    while let Some(part) = body.next(LIMIT).map_err(|e| ConnError::HungUp(e.to_string()))? {
        whole.extend_from_slice(part);
    }
    Ok(whole)
}
