//! The HTTP server of the controller: `/healthz`, `/readyz` and `/metrics` for probes and scrapers, and optionally
//! `/status` for a browser.

use std::net::SocketAddr;
use std::sync::Arc;

use decant_shared::net::conn::ConnError;
use decant_shared::net::dial;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::process::panics::{self, Panic};
use decant_shared::process::stop::Stop;
use decant_shared::protocol::prometheus;

use crate::api::client::KubeCluster;
use crate::api::counted::Counted;
use crate::pages::health::HealthState;
use crate::pages::probes::Readiness;
use crate::pages::{metrics, probes, status};

/// Starts the server; `status_page` adds `/status`. The error names the address.
pub fn serve(
    address: SocketAddr,
    health: &Arc<HealthState>,
    status_page: bool,
    stop: &Stop,
) -> Result<Server, String> {
    let pages = Pages { ready: readiness(health), health: Arc::clone(health), status_page };
    let status = if status_page { ", /status" } else { "" };
    start(address, Arc::new(pages), status, stop)
}

/// Starts the server of a process that only serves the webhook. The error names the address.
pub fn serve_calls(
    address: SocketAddr,
    calls: &Arc<Counted<KubeCluster>>,
    ready: Readiness,
    stop: &Stop,
) -> Result<Server, String> {
    start(address, Arc::new(CallPages { ready, calls: Arc::clone(calls) }), "", stop)
}

/// Whether the controller of `health` is ready.
pub fn readiness(health: &Arc<HealthState>) -> Readiness {
    let health = Arc::clone(health);
    Arc::new(move || if health.is_ready() { Ok(()) } else { Err("the initial lists are not complete") })
}

fn start(
    address: SocketAddr,
    service: Arc<dyn Service>,
    others: &str,
    stop: &Stop,
) -> Result<Server, String> {
    let failed = |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --listen");
    let listener = dial::listen(Some(address.ip()), address.port()).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let server = Server::start("pages", listener, None, Limits::default(), service, stop.clone());
    log::info!("/healthz, /readyz, /metrics{others} on http://{bound}");
    server.map_err(failed)
}

struct Pages {
    ready: Readiness,
    health: Arc<HealthState>,
    status_page: bool,
}

impl Service for Pages {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let (method, path) = (exchange.request.method.as_str(), exchange.request.path.as_str());
        if let Some((status, text)) = probes::answer(method, path, &self.ready) {
            return exchange.answer(status, "text/plain", text);
        }
        let readable = matches!(method, "GET" | "HEAD");
        match path {
            "/metrics" | "/status" if !readable => exchange.answer(405, "text/plain", "GET only"),
            "/metrics" => match panics::catch(|| metrics::page(&self.health)) {
                Ok(Ok(page)) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Ok(Err(e)) => exchange.answer(500, "text/plain", &format!("{e:?}")),
                Err(panic) => fault(exchange, &panic),
            },
            "/status" if self.status_page => match panics::catch(|| status::page(&self.health)) {
                Ok(page) => exchange.answer(200, status::CONTENT_TYPE, &page),
                Err(panic) => fault(exchange, &panic),
            },
            "/status" => {
                exchange.answer(404, "text/plain", "the page is disabled; enable it with --status-page")
            }
            _ => exchange.answer(404, "text/plain", "see /healthz, /readyz and /metrics"),
        }
    }
}

struct CallPages {
    ready: Readiness,
    calls: Arc<Counted<KubeCluster>>,
}

impl Service for CallPages {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let (method, path) = (exchange.request.method.as_str(), exchange.request.path.as_str());
        if let Some((status, text)) = probes::answer(method, path, &self.ready) {
            return exchange.answer(status, "text/plain", text);
        }
        match (path, method) {
            ("/metrics", "GET" | "HEAD") => match metrics::page_of_calls(&self.calls) {
                Ok(page) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Err(e) => exchange.answer(500, "text/plain", &format!("{e:?}")),
            },
            ("/metrics", _) => exchange.answer(405, "text/plain", "GET only"),
            _ => exchange.answer(404, "text/plain", "see /healthz, /readyz and /metrics"),
        }
    }
}

/// Pages show text from the cluster. A fault while rendering it must not end the controller.
fn fault(exchange: &mut Exchange, panic: &Panic) -> Result<(), ConnError> {
    log::error!("{}: internal error, please report it: {panic}", exchange.request.path);
    exchange.answer(500, "text/plain", "internal error; see the log of the controller")
}
