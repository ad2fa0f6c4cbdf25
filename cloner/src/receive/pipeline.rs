//! One transfer: a request's body through the stages to the destination.

use std::rc::Rc;
use std::thread::{Builder, scope};
use std::time::Duration;

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::body::{Body, BodyError};
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::lanes::{Deal, Lane, Pool, lanes};
use crate::receive::body::{ReceiveContext, receive_body, receive_stream};
use crate::receive::received_stream::ReceivedStream;
use crate::receive::resume_verifier::ResumeVerifier;
use crate::receive::streams::Streams;
use crate::receive::transfer_state::UploadState;
use crate::snappy::decode::{DecodedBatch, Decoder};
use crate::snappy::split::Pack;
use crate::writing::write::{self, WriteResult};
use crate::writing::{Writing, WrittenClone};

/// How long a sender may send nothing, by default. The limit prevents a stalled source from blocking all retries
/// (docs/migrate-from-cdi.md row 34), and gives a source on a slow disk the time to fill a block.
pub const IDLE: Duration = Duration::from_secs(300);

/// What is received, and what receiving it needs.
pub struct Transfer<'a> {
    /// What the body is.
    pub content: ContentType,
    /// Logical bytes that the sender announced.
    pub announced_bytes: Option<u64>,
    /// Where the clone goes, and how it is written.
    pub writing: &'a Writing,
    /// A sender that sends nothing for this long has failed.
    pub idle: Duration,
    /// Is notified when the sender sends something.
    pub state: &'a UploadState,
    /// Counts what arrives.
    pub progress: &'a Progress,
    /// Ends all stages early.
    pub stop: &'a Stop,
    /// The parts of a clone that arrives over several connections.
    pub streams: Option<&'a mut Streams>,
    /// The segments that the target holds from a previous attempt, if the source resumes after them. After the
    /// transfer: the segments that it holds now.
    pub held: &'a mut Vec<Digest>,
}

impl Transfer<'_> {
    /// The sender has sent everything, and is silent from now on.
    fn ends(&self) {
        self.state.sent_everything();
        self.progress.enter(Phase::Sync);
    }
}

/// Receives `body`. Returns when it is written and synced.
pub fn receive(body: &mut Body<'_>, transfer: &mut Transfer<'_>) -> Result<WrittenClone> {
    let &mut Transfer { content, announced_bytes, writing, progress, stop, .. } = transfer;
    let count = writing.decompress_threads.max(1);
    let (deal, workers, collect) = lanes(count, "decompressor");
    // Packs of several connections return to the pool of those connections.
    let packs = match &transfer.streams {
        Some(streams) => streams.packs.clone(),
        None => Pool::for_lanes(count),
    };
    let batches = Pool::for_lanes(count);
    if let Some(announced_bytes) = announced_bytes {
        progress.set_total_bytes(announced_bytes);
    }
    progress.enter(Phase::Copy);
    let held = std::mem::take(transfer.held);
    let resumes = !held.is_empty();
    let written = scope(|scope| {
        let writer = Builder::new().name("writer".to_owned()).spawn_scoped(scope, || {
            let verifier = Rc::new(match content {
                ContentType::Block => ResumeVerifier::new(held),
                ContentType::Filesystem => ResumeVerifier::passing_over(held),
            });
            let mut stream = ReceivedStream::new(
                collect,
                &batches,
                progress,
                content,
                announced_bytes,
                Rc::clone(&verifier),
                stop,
            );
            let written =
                write::write_destination(writing, content, announced_bytes, resumes, &mut stream, stop);
            (written, verifier.proven())
        });
        let mut threads = Vec::new();
        for (index, lane) in workers.into_iter().enumerate() {
            let packs = &packs;
            let batches = &batches;
            threads.push(
                Builder::new()
                    .name(format!("decompressor-{index}"))
                    .spawn_scoped(scope, move || decompress(lane, packs, batches)),
            );
        }
        let fed = feed(body, transfer, deal, &packs);
        let written = match writer {
            Ok(writer) => {
                if fed.is_err() {
                    discard(body, &|| writer.is_finished());
                }
                let panicked = |_| (Err(Error::new(Kind::Failed, "the writer panicked")), Vec::new());
                let (written, proven) = writer.join().unwrap_or_else(panicked);
                *transfer.held = proven;
                written
            }
            Err(cause) => Err(Error::io(Kind::Failed, "cannot start a thread", cause)),
        };
        let others = join(threads).into_iter().chain(fed.err()).collect();
        first_cause(written, others)
    })?;
    let WriteResult { stream_bytes, verification, not_kept } = written;
    Ok(WrittenClone { content, stream_bytes, verification, preallocated: writing.preallocate, not_kept })
}

/// Reads the body to its proven end and deals it to the decompressors. They get the end of the data only after that.
fn feed(
    body: &mut Body<'_>,
    transfer: &mut Transfer<'_>,
    mut deal: Deal<Pack>,
    packs: &Pool<Pack>,
) -> Result<()> {
    let context = ReceiveContext {
        idle: transfer.idle,
        state: transfer.state,
        progress: transfer.progress,
        stop: transfer.stop,
    };
    match &mut transfer.streams {
        None => {
            let last = receive_body(body, context, packs, &|| false, &mut |pack| deal.send(pack))?;
            transfer.ends();
            if !last.is_empty() {
                deal.send(last)?;
            }
        }
        Some(streams) => {
            let first = streams.first.take().ok_or_else(|| Error::neighbour("first connection"))?;
            let merged = scope(|scope| {
                let thread = Builder::new().name("stream-0".to_owned());
                let thread = thread.spawn_scoped(scope, || {
                    let _ = receive_stream(body, context, &first);
                    Ok(())
                });
                let merged = streams.merge(&mut deal, context.stop);
                streams.end();
                first_cause(merged, join(vec![thread]))
            });
            merged?;
            transfer.ends();
        }
    }
    deal.end()
}

/// Runs one decompressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
fn decompress(
    lane: Lane<Pack, DecodedBatch>,
    packs: &Pool<Pack>,
    batches: &Pool<DecodedBatch>,
) -> Result<()> {
    let mut decoder = Decoder::default();
    lane.run("writer", |pack| {
        let mut batch = batches.take();
        packs.give(batch.reclaim_pack());
        decoder.decode(pack, &mut batch)?;
        Ok(batch)
    })
}

/// Reads and drops data until the writer has cleaned up, which may take minutes after millions of files. Without this
/// the sender would give up before it gets the reason.
pub fn discard(body: &mut Body<'_>, is_done: &dyn Fn() -> bool) {
    while !is_done() {
        match body.next(STOP_TICK) {
            Ok(Some(_)) | Err(BodyError::Conn(ConnError::TimedOut(..))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
