//! The client of the API server. Only this file and `runtime.rs` use the asynchronous runtime; `kubeconfig.rs` has
//! `async` functions for this file.
//!
//! One thread, `kube-io`, drives sockets and timers. The calling thread drives its own call and sleeps until the
//! response arrives: a waiting watch blocks no other call, and each thread parses its own responses.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;

use crate::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, TOO_LONG, Watch, WatchEvent};
use crate::api::kubeconfig::Reach;
use crate::api::requests::Built;
use crate::api::responses::{Lines, chain, end_of_watch, event, no_answer, page, refusal, unreadable};
use crate::api::runtime::ApiRuntime;
use crate::api::{kubeconfig, requests};
use crate::objects::{Key, Kind, Object, Uid};

/// A reachable API server accepts a connection in far less time.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Limit of a whole call. The API server itself gives up after 60 s, but a retry is better than waiting longer for a
/// webhook or for storage.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Limit of calls about a Lease: a renewal without a response must fail before the Lease expires (see `lease.rs`).
const LEASE_CALL_LIMIT: Duration = Duration::from_secs(4);
/// The API server ends a watch after this time. Proxies often cut connections after five minutes.
const WATCH_SECS: u32 = 290;
/// The API server sends a bookmark each minute. After a longer silence the connection may be dead: the watch is
/// restarted where it was, which costs one request.
const WATCH_SILENCE: Duration = Duration::from_secs(90);
/// Longer responses are not read. The largest stored object has 1.5 MiB and may be a few times that as JSON; longer
/// lists are requested in smaller pages.
const ANSWER_LIMIT_BYTES: usize = 8 << 20;

/// The user agent of the controller in the audit log of the API server.
const CONTROLLER: &str = concat!("decant-controller/", env!("CARGO_PKG_VERSION"));

/// A connection to a cluster over HTTPS.
pub struct KubeCluster {
    client: Client,
    agent: HeaderValue,
    call_limit: Duration,
    io: Arc<ApiRuntime>,
}

/// A cluster with the data of its kubeconfig.
pub struct Reached {
    /// The connection.
    pub cluster: KubeCluster,
    /// The address of the API server.
    pub server: String,
    /// The namespace of the context.
    pub namespace: String,
}

impl KubeCluster {
    /// Uses `kubeconfig`; by default the service account of the pod, outside of a cluster `$KUBECONFIG` or
    /// `~/.kube/config`. Ignores proxies of the environment. Makes no call yet. The error names what was tried.
    pub fn connect(kubeconfig: Option<&Path>) -> Result<Self, String> {
        let io = ApiRuntime::start()?;
        let config = io.handle.block_on(kubeconfig::of_controller(kubeconfig))?;
        Self::open(io, config, CALL_LIMIT, CONTROLLER)
    }

    /// Uses the same configuration as `kubectl`. Makes no call yet. The error names what was tried.
    pub fn reach(reach: &Reach) -> Result<Reached, String> {
        let io = ApiRuntime::start()?;
        let config = io.handle.block_on(reach.config())?;
        let server = config.cluster_url.to_string();
        let namespace = config.default_namespace.clone();
        let cluster = Self::open(io, config, reach.call_limit.unwrap_or(CALL_LIMIT), reach.agent)?;
        Ok(Reached { cluster, server, namespace })
    }

    fn open(
        io: ApiRuntime,
        mut config: Config,
        call_limit: Duration,
        agent: &'static str,
    ) -> Result<Self, String> {
        // Fails only if a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        config.connect_timeout = Some(CONNECT_LIMIT.min(call_limit));
        config.write_timeout = Some(call_limit);
        config.proxy_url = None;
        // The callers decide when to retry.
        config.default_retry = false;
        let url = config.cluster_url.clone();
        let entered = io.handle.enter();
        let client = Client::try_from(config)
            .map_err(|e| format!("cannot create a client for {url}: {}", chain(&e)))?;
        drop(entered);
        Ok(Self { client, agent: HeaderValue::from_static(agent), call_limit, io: Arc::new(io) })
    }

    /// Checks whether the API server and its webhooks would accept `object`; nothing is stored.
    pub fn dry_run(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.call(kind, "", requests::dry_run(kind, object))
    }

    /// Deletes the object with `uid` and keeps the objects that it owns. A missing object is not an error.
    pub fn delete_alone(&self, kind: Kind, key: &Key, uid: &Uid) -> Result<(), ApiError> {
        self.delete_with(kind, requests::delete_alone(kind, key, uid))
    }

    fn delete_with(&self, kind: Kind, built: Built) -> Result<(), ApiError> {
        match self.text(self.limit(kind), built, ANSWER_LIMIT_BYTES) {
            // The UID is the only precondition: a conflict means that the object is gone.
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }

    fn limit(&self, kind: Kind) -> Duration {
        if kind == Kind::Lease { LEASE_CALL_LIMIT.min(self.call_limit) } else { self.call_limit }
    }

    fn with_headers(&self, mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
        request.headers_mut().insert(USER_AGENT, self.agent.clone());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }

    /// The object in the response; `name` is for the error.
    fn call(&self, kind: Kind, name: &str, built: Built) -> Result<Object, ApiError> {
        let bytes = self.text(self.limit(kind), built, ANSWER_LIMIT_BYTES)?;
        Object::try_from(bytes).map_err(|e| unreadable(format!("{} {name}", kind.name()).trim_end(), &e))
    }

    /// The body of a successful response, at most `limit_bytes`.
    fn text(&self, limit: Duration, built: Built, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
        let request = self.with_headers(built?);
        self.io.run(limit, async {
            let response = send(&self.client, request).await?;
            read(response.into_body(), limit_bytes).await
        })
    }
}

impl Cluster for KubeCluster {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.call(kind, &key.to_string(), requests::get(kind, key))
    }

    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        page(kind, self.text(self.limit(kind), requests::list(kind, params), ANSWER_LIMIT_BYTES)?)
    }

    fn watch(
        &self,
        kind: Kind,
        params: &ListParams,
        resource_version: &str,
    ) -> Result<Box<dyn Watch>, ApiError> {
        let request = self.with_headers(requests::watch(kind, params, resource_version, WATCH_SECS)?);
        let response = self.io.run(self.call_limit, send(&self.client, request))?;
        let lines = Lines::default();
        Ok(Box::new(KubeWatch {
            kind,
            body: response.into_body(),
            lines,
            last_data: Instant::now(),
            io: self.io.clone(),
        }))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.call(kind, "", requests::create(kind, object))
    }

    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        self.call(kind, &key.to_string(), requests::patch(kind, key, part, patch))
    }

    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        self.call(kind, &key.to_string(), requests::replace(kind, key, object))
    }

    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        self.delete_with(kind, requests::delete(kind, key, uid, grace_secs))
    }

    fn pod_proxy(
        &self,
        pod: &Key,
        port: u16,
        path: &str,
        limit: Duration,
        limit_bytes: usize,
    ) -> Result<String, ApiError> {
        let bytes = self.text(limit, requests::pod_proxy(pod, port, path), limit_bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A watch that receives its events line by line.
struct KubeWatch {
    kind: Kind,
    body: Body,
    lines: Lines,
    last_data: Instant,
    io: Arc<ApiRuntime>,
}

impl Watch for KubeWatch {
    fn next(&mut self, limit: Duration) -> Result<Option<WatchEvent>, ApiError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(line) = self.lines.next()? {
                return event(self.kind, line).map(Some);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Cancelling `frame` loses no data.
            let body = &mut self.body;
            let frame = self.io.handle.block_on(async { tokio::time::timeout(left, body.frame()).await });
            match frame {
                Err(_) if self.last_data.elapsed() > WATCH_SILENCE => {
                    return Err(end_of_watch("the API server fell silent"));
                }
                Err(_) => return Ok(None),
                Ok(None) => return Err(end_of_watch("the API server ended it")),
                Ok(Some(Err(e))) => return Err(end_of_watch(&chain(&e))),
                Ok(Some(Ok(frame))) => {
                    self.last_data = Instant::now();
                    self.lines.push(frame.data_ref().map_or(&[][..], |data| data));
                }
            }
        }
    }
}

/// Sends a request; a status other than 2xx is an error with the message of the API server.
async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, ApiError> {
    let response =
        client.send(request.map(Body::from)).await.map_err(|e| no_answer("NoAnswer", chain(&e)))?;
    let code = response.status().as_u16();
    if (200..300).contains(&code) {
        return Ok(response);
    }
    let text = read(response.into_body(), ANSWER_LIMIT_BYTES).await.unwrap_or_default();
    Err(refusal(code, &text))
}

async fn read(mut body: Body, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| no_answer("CutShort", chain(&e)))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if bytes.len() + data.len() > limit_bytes {
            return Err(no_answer(
                TOO_LONG,
                format!("the response of the API server is longer than {limit_bytes} bytes"),
            ));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}
