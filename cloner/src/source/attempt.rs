//! One attempt: connect, run the three stages over that connection, collect what each of them says.

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, scope};

use decant_shared::net::conn::Conn;
use decant_shared::net::dial;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};

use super::answer::explain;
use super::blocks::{Blocks, Computed};
use super::choose::Choice;
use super::follow;
use super::outgoing::Buffers;
use super::request::Request;
use super::resume::Peer;
use super::steering::Steering;
use super::streams;
use super::upload::Around;
use super::volume::Volume;
use super::{Source, compress};
use crate::error::{Error, Kind, Result};
use crate::lanes::lanes;
use crate::threads::{join, verdict};

/// Sends all of `volume` once. Returns what the target says then.
pub fn run(
    source: &Source,
    volume: &Volume,
    peer: &Peer,
    computed: &Computed,
    progress: &Progress,
    stop: &Stop,
) -> Result<String> {
    progress.enter(Phase::Connect);
    let together = stop.child();
    let mut conn = connect(source, &together)?;
    let streams = streams::count(source, volume, peer);
    let count = source.compress_threads.max(1);
    let (deal, workers, mut collect) = lanes(count, "compressor");
    let buffers = Buffers::for_lanes(count + streams);
    let request = request(source, volume, peer);
    let choice = Choice::new(source.compression);
    let ended = stop.child();
    let outcome = scope(|scope| {
        let mut threads = Vec::new();
        let (choice, buffers) = (&choice, &buffers);
        // The reader owns `deal`: when it ends, the compressors see it.
        threads.push(Builder::new().name("reader".to_owned()).spawn_scoped(scope, move || {
            let how = (computed, peer.can.is_extended);
            let blocks = Blocks::new(deal, (choice, buffers), how, progress, stop);
            volume.read(blocks, &peer.kept, peer.can.keeps_attributes, stop)
        }));
        if peer.can.is_extended {
            progress.set_durable_bytes(0);
            let ended = &ended;
            threads.push(Builder::new().name("follower".to_owned()).spawn_scoped(scope, move || {
                follow::run(source, progress, ended);
                Ok(())
            }));
        }
        for (index, lane) in workers.into_iter().enumerate() {
            threads.push(
                Builder::new()
                    .name(format!("compressor-{index}"))
                    .spawn_scoped(scope, move || compress::run(lane, choice, buffers)),
            );
        }
        progress.enter(Phase::Copy);
        let steering = Steering::new(source.limit, choice, streams);
        let around = Around { choice, buffers, progress, is_broken: &AtomicBool::new(false), stop };
        let (over, what) = ((&mut conn, request, streams), (&mut collect, steering));
        let posted = streams::post(source, over, what, around, &together);
        ended.cancel();
        // So that the other stages end, too.
        drop(collect);
        verdict(posted, join(threads))
    });
    if outcome.is_ok() {
        conn.close(source.timeouts.connect);
    }
    outcome
}

/// What the target is told before the first byte.
fn request<'a>(source: &'a Source, volume: &Volume, peer: &Peer) -> Request<'a> {
    Request {
        url: &source.url,
        content: source.content,
        length_bytes: volume.certain_bytes(),
        timeouts: source.timeouts,
        has_attributes: peer.can.keeps_attributes && source.content == ContentType::Filesystem,
        resume: peer.can.is_extended.then_some(peer.kept.len()),
        stream: None,
    }
}

/// Connects and completes the handshake. Everything that may be different in a moment (nobody listens yet,
/// the name is not known yet, a proxy hangs up) is [`Kind::Unreachable`].
pub(super) fn connect(source: &Source, stop: &Stop) -> Result<Conn> {
    let (url, timeouts) = (&source.url, source.timeouts);
    let socket = dial::connect(&url.host, url.port, timeouts.connect, stop).map_err(|cause| {
        match (cause.kind(), stop.reason()) {
            (ErrorKind::Interrupted, Some(reason)) => Error::stopped(reason),
            _ => {
                Error::io(Kind::Unreachable, format!("cannot reach the target at {}", url.authority()), cause)
            }
        }
    })?;
    let unreachable = |fault| {
        let error = explain(fault, url);
        match error.kind() {
            Kind::HungUp | Kind::Stalled => Error::new(Kind::Unreachable, error.to_string()),
            _ => error,
        }
    };
    // Each connection looks for renewed keys: the clone may be older than those that it began with.
    let mut conn =
        Conn::client(socket, source.tls.now(), url.server_name()?, stop.clone()).map_err(unreachable)?;
    conn.handshake(timeouts.handshake).map_err(unreachable)?;
    Ok(conn)
}
