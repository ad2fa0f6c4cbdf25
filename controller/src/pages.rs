//! The controller's own HTTP pages: `/healthz`, `/readyz` and `/metrics`, in plain text for probes and scrapers, and
//! `/status` for people, where that is wanted.

mod metrics;
pub mod status;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use decant_shared::conn::Fault;
use decant_shared::http::server::{Exchange, Limits, Server, Service};
use decant_shared::panics::{self, Panic};
use decant_shared::prometheus;
use decant_shared::stop::Stop;

use crate::board::Board;

/// Starts the server; `/status` is only there with `status_page`. The error names the address.
pub fn serve(
    address: SocketAddr,
    board: &Arc<Board>,
    status_page: bool,
    stop: &Stop,
) -> Result<Server, String> {
    let failed = |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --listen");
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let service = Arc::new(Pages { board: Arc::clone(board), status_page });
    let server = Server::start("pages", listener, None, Limits::default(), service, stop.clone());
    let status = if status_page { ", /status" } else { "" };
    log::info!("/healthz, /readyz, /metrics{status} on http://{bound}");
    server.map_err(failed)
}

struct Pages {
    board: Arc<Board>,
    status_page: bool,
}

impl Service for Pages {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault> {
        let readable = matches!(exchange.request.method.as_str(), "GET" | "HEAD");
        match exchange.request.path.as_str() {
            "/healthz" | "/readyz" | "/metrics" | "/status" if !readable => {
                exchange.answer(405, "text/plain", "GET only")
            }
            // A process with a thread that died ends by itself; one that answers here is alive.
            "/healthz" => exchange.answer(200, "text/plain", "OK"),
            "/readyz" if self.board.is_ready() => exchange.answer(200, "text/plain", "OK"),
            "/readyz" => exchange.answer(503, "text/plain", "the first lists are not complete"),
            "/metrics" => match panics::guarded(|| metrics::page(&self.board)) {
                Ok(Ok(page)) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Ok(Err(e)) => exchange.answer(500, "text/plain", &format!("{e:?}")),
                Err(panic) => fault(exchange, &panic),
            },
            "/status" if self.status_page => match panics::guarded(|| status::page(&self.board)) {
                Ok(page) => exchange.answer(200, status::CONTENT_TYPE, &page),
                Err(panic) => fault(exchange, &panic),
            },
            "/status" => exchange.answer(404, "text/plain", "the page is off; --status-page serves it"),
            _ => exchange.answer(404, "text/plain", "see /healthz, /readyz and /metrics"),
        }
    }
}

/// A page shows what others wrote; that it cannot be shown must not end what the controller does.
fn fault(exchange: &mut Exchange, panic: &Panic) -> Result<(), Fault> {
    log::error!("{}: a fault in the controller, please report it: {panic}", exchange.request.path);
    exchange.answer(500, "text/plain", "a fault in the controller; its log says which")
}
