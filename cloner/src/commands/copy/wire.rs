//! Both ends of a network clone in one process, with the same code path as between two pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use decant_shared::net::dial;
use decant_shared::net::http::server::{Limits, Server};
use decant_shared::net::tls::authority::{Authority, Usage};
use decant_shared::net::tls::suites::{CipherSuites, TlsVersions};
use decant_shared::net::tls::{client, server};
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Progress;

use crate::commands::cli::CopyArgs;
use crate::commands::copy::plan::CopyPlan;
use crate::commands::new_progress;
use crate::error::{Error, Kind, Result};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::receive::pipeline::IDLE;
use crate::receive::server::UploadService;
use crate::send;
use crate::send::compression::Compression;
use crate::send::request::Timeouts;
use crate::send::source::Source;
use crate::send::url::UploadUrl;
use crate::volume::writer_lock::WriterLock;
use crate::writing::{Writing, WrittenClone};

/// Common name of the temporary client certificate.
const CLIENT_NAME: &str = "decant-copy";
/// Only this process uses the certificates, but a copy may take longer than a day.
const CERTIFICATE_DAYS: i64 = 30;
/// How long the receiving end may take to clean up or to report why it failed.
const TARGET_END: Duration = Duration::from_secs(20);

/// Starts the receiving end on loopback and sends to it. Returns when both ends have succeeded, with a description of
/// what could not be kept.
pub(super) fn transfer(
    args: &CopyArgs,
    plan: &CopyPlan,
    writing: Writing,
    claim: Option<Arc<WriterLock>>,
    progress: &Arc<Progress>,
    stop: &Stop,
) -> Result<Option<String>> {
    let authority = Authority::new("decant-copy", CERTIFICATE_DAYS)?;
    let listener = loopback()?;
    let address =
        listener.local_addr().map_err(|e| Error::io(Kind::Failed, "cannot listen on loopback", e))?;
    check_route(address)?;
    let host = address.ip().to_string();
    let identity = authority.issue("decant-copy-target", &[&host], Usage::Server, CERTIFICATE_DAYS);
    let server_tls = server::config_with_optional_client_auth(
        identity?,
        authority.roots()?,
        TlsVersions::default(),
        CipherSuites::default(),
    );
    let client_identity = authority.issue(CLIENT_NAME, &[], Usage::Client, CERTIFICATE_DAYS)?;
    let (outcomes, results) = bounded(1);
    let arrived = new_progress();
    let client_name = CLIENT_NAME.to_owned();
    let uploads =
        UploadService::new(writing, IDLE, client_name, Arc::clone(&arrived), stop.clone(), outcomes)
            .claimed(claim);
    let server = Server::start(
        "target",
        listener,
        Some(server_tls?.into()),
        Limits::default(),
        Arc::new(uploads),
        stop.clone(),
    )
    .map_err(|e| Error::io(Kind::Failed, "cannot start the receiving end", e))?;
    let source = Source {
        path: args.source.clone(),
        content: plan.content,
        preallocation: args.preallocate,
        url: UploadUrl { host, port: address.port(), path: "/v1beta1/upload".to_owned() },
        tls: client::config(authority.roots()?, client_identity)?.into(),
        compress_threads: args.tuning.threads(),
        compression: args.compression.unwrap_or(Compression::Auto),
        expected_bytes: None,
        limiter: Arc::new(RateLimiter::new(args.limit)),
        streams: 1,
        patience: Duration::ZERO,
        timeouts: Timeouts::default(),
        near: Some(arrived),
    };
    let sent = send::send(&source, progress, stop);
    let outcome = both(sent, &results);
    server.shut_down(TARGET_END);
    outcome
}

/// Combines the results of both ends. If the target refused or hung up, its own error is the reason. If the source
/// failed, the target only sees an incomplete stream, so the source's error is reported.
fn both(sent: Result<Option<String>>, results: &Receiver<Result<WrittenClone>>) -> Result<Option<String>> {
    let error = match sent {
        // The target reports to the sender only what a directory lost. What an image lost is in the target's own
        // result.
        Ok(None) => {
            let received = results.recv_timeout(TARGET_END).ok().and_then(Result::ok);
            return Ok(received
                .map(|received| received.not_kept)
                .filter(|lost| !lost.is_empty())
                .map(|lost| lost.to_string()));
        }
        Ok(not_kept) => return Ok(not_kept),
        Err(error) => error,
    };
    // The wait also lets an interrupted target remove what it wrote.
    let received = match error.kind() {
        Kind::Source | Kind::SourceChanged | Kind::Usage if results.is_empty() => {
            results.recv_timeout(Duration::from_secs(1))
        }
        _ => results.recv_timeout(TARGET_END),
    };
    match (error.kind(), received) {
        (Kind::Refused(_) | Kind::HungUp | Kind::Stalled, Ok(Err(cause))) => Err(cause),
        _ => Err(error),
    }
}

/// Checks that the loopback interface is up. In a new network namespace (`unshare -n`) it is down. Nothing is sent:
/// connecting a datagram socket only looks up the route.
fn check_route(address: SocketAddr) -> Result<()> {
    let probe = UdpSocket::bind((address.ip(), 0)).and_then(|socket| socket.connect(address));
    probe.map_err(|cause| {
        let text = "both ends of a copy talk over the loopback interface, which is down here; \
            start it with `ip link set lo up`";
        Error::io(Kind::Failed, text, cause)
    })
}

fn loopback() -> Result<TcpListener> {
    let v4 = dial::listen(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0);
    v4.or_else(|_| dial::listen(Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), 0))
        .map_err(|e| Error::io(Kind::Failed, "cannot listen on loopback", e))
}
