//! `/healthz` and `/readyz` on a separate port. The kubelet restarts a container whose probes fail, so requests for
//! other pages must not use up their connections.

use std::net::SocketAddr;
use std::sync::Arc;

use decant_shared::net::conn::ConnError;
use decant_shared::net::dial;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::process::stop::Stop;

/// Whether the process is ready; the error is the reason why it is not.
pub type Readiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// Starts the server. The error names the address.
pub fn serve(address: SocketAddr, ready: Readiness, stop: &Stop) -> Result<Server, String> {
    let failed =
        |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --probe-listen");
    let listener = dial::listen(Some(address.ip()), address.port()).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let server =
        Server::start("probes", listener, None, Limits::default(), Arc::new(Probes(ready)), stop.clone());
    log::info!("probes on http://{bound}");
    server.map_err(failed)
}

struct Probes(Readiness);

impl Service for Probes {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        match answer(&exchange.request.method, &exchange.request.path, &self.0) {
            Some((status, text)) => exchange.answer(status, "text/plain", text),
            None => exchange.answer(404, "text/plain", "see /healthz and /readyz"),
        }
    }
}

/// Status and text of the response to a probe; `None` if `path` is another page.
pub fn answer(method: &str, path: &str, ready: &Readiness) -> Option<(u16, &'static str)> {
    match path {
        "/healthz" | "/readyz" if !matches!(method, "GET" | "HEAD") => Some((405, "GET only")),
        // A process ends when a thread panics: a process that answers is alive.
        "/healthz" => Some((200, "OK")),
        "/readyz" => Some(ready().map_or_else(|why| (503, why), |()| (200, "OK"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_ready_is_alive() {
        let ready: Readiness = Arc::new(|| Err("not yet"));
        assert_eq!(answer("GET", "/healthz", &ready), Some((200, "OK")));
        assert_eq!(answer("GET", "/readyz", &ready), Some((503, "not yet")));
        let ready: Readiness = Arc::new(|| Ok(()));
        assert_eq!(answer("HEAD", "/readyz", &ready), Some((200, "OK")));
    }

    #[test]
    fn only_get_and_head_of_probes_are_served() {
        let ready: Readiness = Arc::new(|| Ok(()));
        assert_eq!(answer("POST", "/readyz", &ready), Some((405, "GET only")));
        assert_eq!(answer("GET", "/metrics", &ready), None);
    }
}
