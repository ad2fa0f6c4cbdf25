//! The server of the metrics page, in a source pod and in the pod of a direct clone.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use decant_shared::net::dial;
use decant_shared::net::http::server::{Limits, Server};
use decant_shared::net::tls::authority::{Authority, Usage};
use decant_shared::net::tls::key_sources::{KeySet, KeySources};
use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::net::tls::server;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::{METRICS_CERTIFICATE_FILE, METRICS_KEY_FILE};
use decant_shared::protocol::limit_order::{KEY_VARIABLE, POD_UID_VARIABLE};
use decant_shared::protocol::progress::Progress;
use rustls::ServerConfig;

use crate::commands::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::report::limit_control::{LimitControl, OrderAddress};
use crate::report::metrics::Metrics;

/// Validity of the self-signed certificate of the metrics page, as in CDI (docs/protocol.md section 1.12).
const METRICS_CERTIFICATE_DAYS: i64 = 365;
/// How long scrapers may take to finish reading after the clone.
pub(super) const SERVER_END: Duration = Duration::from_secs(2);

/// Starts the server of the metrics page at `port` (0: any free port). The environment names the owner of the clone, the
/// certificate if there is one, and the key of the controller if `limiter` may be changed.
pub(super) fn start(
    port: u16,
    environment: &Environment,
    progress: &Arc<Progress>,
    limiter: &Arc<RateLimiter>,
) -> Result<Server> {
    let owner_uid = environment.get("OWNER_UID").unwrap_or_else(|| {
        log::warn!("OWNER_UID is not set: controllers will not find the progress of this clone");
        ""
    });
    let tls = metrics_tls(environment)?;
    let listener = listen(port)?;
    let control = LimitControl::new(Arc::clone(limiter), orders(environment)?);
    let service = Metrics::new(Arc::clone(progress), control, owner_uid.to_owned());
    // With a separate stop token: the page stays available while the clone stops.
    Server::start("metrics", listener, Some(tls), Limits::default(), Arc::new(service), Stop::new())
        .map_err(|e| Error::io(Kind::Failed, "cannot start the metrics server", e))
}

/// Whose orders about the bandwidth limit are followed. Without the key of a controller there are none.
fn orders(environment: &Environment) -> Result<Option<OrderAddress>> {
    let Some(key) = environment.get(KEY_VARIABLE) else { return Ok(None) };
    let key = key.parse().map_err(|_| {
        Error::usage(format!("{KEY_VARIABLE} is not a public key: it must have 64 hexadecimal digits"))
    })?;
    let pod_uid = environment.require(POD_UID_VARIABLE, "the UID of this pod")?.to_owned();
    Ok(Some(OrderAddress { key, pod_uid }))
}

fn listen(port: u16) -> Result<TcpListener> {
    let listener = dial::listen(None, port).map_err(|e| {
        Error::io(
            Kind::Failed,
            format!("cannot listen on port {port} for metrics (set another one with DECANT_METRICS_PORT)"),
            e,
        )
    })?;
    if let Ok(address) = listener.local_addr() {
        log::info!("metrics on https://{address}/metrics");
    }
    Ok(listener)
}

/// TLS for the metrics page: with the certificate that the environment specifies and that may be renewed, or with a
/// self-signed certificate that is valid for longer than any clone takes.
fn metrics_tls(environment: &Environment) -> Result<ReloadingConfig<ServerConfig>> {
    const CERTIFICATE: &str = "METRICS_TLS_CERT_FILE";
    const KEY: &str = "METRICS_TLS_KEY_FILE";
    if environment.get(CERTIFICATE).is_none() && environment.get(KEY).is_none() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let authority = Authority::new("decant-metrics", METRICS_CERTIFICATE_DAYS)?;
        let name = format!("cloner_target@{now}");
        let identity = authority.issue(&name, &["cloner_target"], Usage::Server, METRICS_CERTIFICATE_DAYS)?;
        return Ok(server::config_without_client_auth(identity)?.into());
    }
    let chain = environment.require_pem_file(CERTIFICATE, "the metrics page's certificate")?;
    let key = environment.require_pem_file(KEY, "the metrics page's private key")?;
    let names = KeySet { chain: METRICS_CERTIFICATE_FILE, key: METRICS_KEY_FILE, authorities: None };
    let first = KeySet { chain, key, authorities: None };
    let places = KeySources { initial: first, renewed: environment.renewed_keys(names) };
    Ok(ReloadingConfig::from_keys(places, |keys| server::config_without_client_auth(keys.identity()?))?)
}
