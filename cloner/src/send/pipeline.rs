//! One attempt: connect, run the three stages over that connection, collect what each of them says.

use std::sync::atomic::AtomicBool;
use std::thread::{Builder, scope};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};

use crate::digest::SEGMENT_BYTES;
use crate::error::Result;
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::lanes::lanes;
use crate::send::block::BufferPools;
use crate::send::block_sink::{BlockSink, ComputedDigests};
use crate::send::compression::CompressionMode;
use crate::send::connect::connect;
use crate::send::negotiate::Negotiated;
use crate::send::request::Request;
use crate::send::source::Source;
use crate::send::throttle::Throttle;
use crate::send::upload::SendContext;
use crate::send::{encode, follow, streams};
use crate::volume::Volume;

/// Sends all of `volume` once. Returns what the target says then.
pub fn run(
    source: &Source,
    volume: &Volume,
    peer: &Negotiated,
    computed: &ComputedDigests,
    progress: &Progress,
    stop: &Stop,
) -> Result<String> {
    progress.enter(Phase::Connect);
    let together = stop.child();
    let mut conn = connect(source, &together)?;
    let streams = streams::count(source, volume, peer);
    let count = source.compress_threads.max(1);
    let (deal, workers, mut collect) = lanes(count, "compressor");
    let buffers = BufferPools::for_lanes(count + streams);
    let request = request(source, volume, peer);
    let compression_mode = CompressionMode::new(source.compression);
    let ended = stop.child();
    let outcome = scope(|scope| {
        let mut threads = Vec::new();
        let (compression_mode, buffers) = (&compression_mode, &buffers);
        // The reader owns `deal`: when it ends, the compressors see it.
        threads.push(Builder::new().name("reader".to_owned()).spawn_scoped(scope, move || {
            let how = (computed, peer.capabilities.is_extended);
            let blocks = BlockSink::new(deal, (compression_mode, buffers), how, progress, stop);
            read(volume, blocks, peer, stop)
        }));
        if peer.capabilities.is_extended {
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
                    .spawn_scoped(scope, move || encode::run(lane, compression_mode, buffers)),
            );
        }
        progress.enter(Phase::Copy);
        let throttle = Throttle::new(source.limit, compression_mode, streams);
        let context =
            SendContext { compression_mode, buffers, progress, is_broken: &AtomicBool::new(false), stop };
        let (over, what) = ((&mut conn, request, streams), (&mut collect, throttle));
        let posted = streams::post(source, over, what, context, &together);
        ended.cancel();
        // So that the other stages end, too.
        drop(collect);
        first_cause(posted, join(threads))
    });
    if outcome.is_ok() {
        conn.close(source.timeouts.connect);
    }
    outcome
}

/// Reads the volume into `blocks`, except the content of the first segments that the target already has.
fn read(volume: &Volume, mut blocks: BlockSink<'_>, peer: &Negotiated, stop: &Stop) -> Result<()> {
    match volume.certain_bytes() {
        Some(size_bytes) => blocks.keep(&peer.kept, size_bytes)?,
        None => blocks.pass_over(&peer.kept)?,
    }
    let start_bytes = peer.kept.len() as u64 * SEGMENT_BYTES;
    volume.read(start_bytes, peer.capabilities.keeps_attributes, &mut blocks, stop)?;
    blocks.finish()
}

/// What the target is told before the first byte.
fn request<'a>(source: &'a Source, volume: &Volume, peer: &Negotiated) -> Request<'a> {
    Request {
        url: &source.url,
        content: source.content,
        length_bytes: volume.certain_bytes(),
        timeouts: source.timeouts,
        has_attributes: peer.capabilities.keeps_attributes && source.content == ContentType::Filesystem,
        resume: peer.capabilities.is_extended.then_some(peer.kept.len()),
        stream: None,
    }
}
