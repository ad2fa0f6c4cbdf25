//! The controller's own HTTP pages: `/healthz`, `/readyz` and `/metrics`, in plain text for probes and scrapers.

mod metrics;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use decant_shared::conn::Fault;
use decant_shared::http::server::{Exchange, Limits, Server, Service};
use decant_shared::prometheus;
use decant_shared::stop::Stop;

use crate::board::Board;

/// Starts the server. The error names the address.
pub fn serve(address: SocketAddr, board: &Arc<Board>, stop: &Stop) -> Result<Server, String> {
    let failed = |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --listen");
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let service = Arc::new(Pages(Arc::clone(board)));
    let server = Server::start("pages", listener, None, Limits::default(), service, stop.clone());
    log::info!("/healthz, /readyz and /metrics on http://{bound}");
    server.map_err(failed)
}

struct Pages(Arc<Board>);

impl Service for Pages {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault> {
        let readable = matches!(exchange.request.method.as_str(), "GET" | "HEAD");
        match exchange.request.path.as_str() {
            "/healthz" | "/readyz" | "/metrics" if !readable => {
                exchange.answer(405, "text/plain", "GET only")
            }
            // A process with a thread that died ends by itself; one that answers here is alive.
            "/healthz" => exchange.answer(200, "text/plain", "OK"),
            "/readyz" if self.0.is_ready() => exchange.answer(200, "text/plain", "OK"),
            "/readyz" => exchange.answer(503, "text/plain", "the first lists are not complete"),
            "/metrics" => match metrics::page(&self.0) {
                Ok(page) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Err(e) => exchange.answer(500, "text/plain", &format!("{e:?}")),
            },
            _ => exchange.answer(404, "text/plain", "see /healthz, /readyz and /metrics"),
        }
    }
}
