//! `cloner target`: the target pod.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use decant_shared::net::dial;
use decant_shared::net::http::server::{Limits, Server, Service};
use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::units::Bytes;
use time::OffsetDateTime;

use crate::commands::cli::TargetArgs;
use crate::commands::environment::Environment;
use crate::commands::target_config::TargetConfig;
use crate::commands::{new_progress, termination_message};
use crate::error::{Error, Kind, Result};
use crate::receive::server::UploadService;
use crate::report::progress_log::ProgressLog;
use crate::report::ticker::{TICK, Ticker};
use crate::writing::WrittenClone;

/// How long probes and the sender may take to read their answers before the process ends.
const SERVER_END: Duration = Duration::from_secs(5);
/// How long a transfer may take to end and clean up after a stop. Less than the 30 s that Kubernetes gives by default.
const TRANSFER_END: Duration = Duration::from_secs(15);
/// Capacity of the channel for outcomes. There is one transfer at a time, and the main thread always receives.
const OUTCOMES: usize = 4;

/// Receives one clone. Returns when the clone is durable and the sender knows that, or when the deadline has passed.
pub fn run(args: &TargetArgs, environment: &Environment, stop: &Stop) -> Result<()> {
    termination_message::on_failure(&args.pod.termination_log, || {
        let config = TargetConfig::configure(args, environment)?;
        let listener = dial::listen(config.address, config.port).map_err(|e| {
            let address = config.address.map_or("[::]".to_owned(), |address| address.to_string());
            let text =
                format!("cannot listen on {address} port {} (LISTEN_ADDRESS, LISTEN_PORT)", config.port);
            Error::io(Kind::Failed, text, e)
        })?;
        let place = listener.local_addr().map_or(String::new(), |address| address.to_string());
        let progress = new_progress();
        let (outcomes, results) = bounded(OUTCOMES);
        let uploads = Arc::new(UploadService::new(
            config.writing,
            config.idle,
            config.client_name,
            Arc::clone(&progress),
            stop.clone(),
            outcomes,
        ));
        let service: Arc<dyn Service> = uploads.clone();
        let server = start_server("uploads", listener, Some(config.tls), &service, stop)?;
        let health = plain_health(args.plain_health_port, &service, stop)?;
        log::info!("waiting for a clone on https://{place}");
        let mut progress_log = ProgressLog::default();
        let ticker = Ticker::start(progress, TICK, move |progress| {
            if let Some(sentence) = progress_log.sentence(progress, Instant::now()) {
                log::info!("received {sentence}");
            }
        })?;
        let outcome = wait(&results, &uploads, config.deadline, stop);
        ticker.finish();
        let open = server.shut_down(SERVER_END);
        if open > 0 {
            log::warn!("{open} connections are still open; ending anyway");
        }
        if let Some(health) = health {
            health.shut_down(Duration::ZERO);
        }
        let message = match outcome? {
            Some(received) => {
                log::info!(
                    "{} received as {}; it is on disk",
                    Bytes(received.stream_bytes),
                    received.content
                );
                termination_message::of_target(&received)
            }
            None => {
                log::info!("the deadline passed without a transfer");
                termination_message::of_deadline()
            }
        };
        termination_message::leave(&args.pod.termination_log, &message);
        Ok(())
    })
}

fn start_server(
    name: &'static str,
    listener: std::net::TcpListener,
    tls: Option<ReloadingConfig<rustls::ServerConfig>>,
    service: &Arc<dyn Service>,
    stop: &Stop,
) -> Result<Server> {
    Server::start(name, listener, tls, Limits::default(), Arc::clone(service), stop.clone())
        .map_err(|e| Error::io(Kind::Failed, "cannot start the server", e))
}

/// Starts the health port without TLS. Only old controllers use it, so it is not an error if the port is in use.
fn plain_health(port: u16, service: &Arc<dyn Service>, stop: &Stop) -> Result<Option<Server>> {
    if port == 0 {
        return Ok(None);
    }
    match dial::listen(None, port) {
        Ok(listener) => start_server("health", listener, None, service, stop).map(Some),
        Err(e) => {
            log::warn!("cannot listen on port {port}: {e}; old controllers get no plain-text /healthz");
            Ok(None)
        }
    }
}

/// Waits for a successful transfer. After a failed one the target waits for the next, because the source will be
/// restarted. Returns `None` if the deadline passed while no transfer was running.
fn wait(
    results: &Receiver<Result<WrittenClone>>,
    uploads: &UploadService,
    deadline: Option<OffsetDateTime>,
    stop: &Stop,
) -> Result<Option<WrittenClone>> {
    let mut leave_at = None;
    loop {
        match results.recv_timeout(STOP_TICK) {
            Ok(Ok(received)) => return Ok(Some(received)),
            Ok(Err(error)) if matches!(error.kind(), Kind::Signal(_)) => return Err(error),
            Ok(Err(error)) => log::error!("the transfer failed: {error}"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::neighbour("upload server")),
        }
        if stop.is_set() && Instant::now() > *leave_at.get_or_insert_with(|| Instant::now() + TRANSFER_END) {
            log::warn!(
                "the transfer did not end within {} s after the stop; ending anyway",
                TRANSFER_END.as_secs()
            );
            Error::check(stop)?;
        }
        // A connection may already be open. Its sender must not get 200 after this.
        let has_left = uploads.leave_if(|| {
            Error::check(stop)?;
            let is_late = deadline.is_some_and(|deadline| OffsetDateTime::now_utc() >= deadline);
            Ok(is_late && results.is_empty())
        })?;
        if has_left {
            return Ok(None);
        }
    }
}
