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
use crate::pipeline::lanes::{Deal, Pool, lanes};
use crate::receive::body::{ReceiveContext, receive_body, receive_stream};
use crate::receive::decompress::{self, PackMessage};
use crate::receive::received_stream::ReceivedStream;
use crate::receive::resume_verifier::ResumeVerifier;
use crate::receive::running::CurrentTransfer;
use crate::receive::streams::{MultiConnection, Streams};
use crate::receive::write::{self, WriteResult};
use crate::receive::{Received, Writing};
use crate::snappy::split::Pack;

/// How long a sender may send nothing, unless something else is asked for. It keeps a stalled source from
/// blocking all retries (contract 8, #34), and leaves a source on a slow disk the time to fill a block.
pub const IDLE: Duration = Duration::from_secs(300);

/// What is received, and what stands around it.
pub struct Transfer<'a> {
    /// What the body is.
    pub content: ContentType,
    /// Logical bytes that the sender announced.
    pub announced_bytes: Option<u64>,
    /// Where it goes, and how.
    pub writing: &'a Writing,
    /// A sender that sends nothing for this long has failed.
    pub idle: Duration,
    /// Told when the sender is heard.
    pub running: &'a CurrentTransfer,
    /// Counts what arrives.
    pub progress: &'a Progress,
    /// Ends it early, the writer and everything else of it.
    pub stop: &'a Stop,
    /// For a clone that comes over several connections: what they bring, and where they meet.
    pub streams: Option<(&'a mut Streams, &'a MultiConnection)>,
    /// The segments that the target holds of an attempt before, if the source goes on from there; after the
    /// transfer, those that it holds now.
    pub held: &'a mut Vec<Digest>,
}

impl Transfer<'_> {
    /// The sender has said everything, and may be silent now.
    fn ends(&self) {
        self.running.end();
        self.progress.enter(Phase::Sync);
    }
}

/// Receives `body` and returns when it is written and synced.
pub fn receive(body: &mut Body<'_>, transfer: &mut Transfer<'_>) -> Result<Received> {
    let &mut Transfer { content, announced_bytes, writing, progress, stop, .. } = transfer;
    let count = writing.decompress_threads.max(1);
    let (deal, workers, collect) = lanes(count, "decompressor");
    // Where other connections bring packs, they are given back to those.
    let packs = match &transfer.streams {
        Some((streams, _)) => streams.packs.clone(),
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
            let length = (content, announced_bytes);
            let mut stream =
                ReceivedStream::new(collect, &batches, progress, length, Rc::clone(&verifier), stop);
            let written =
                write::write_destination(writing, content, announced_bytes, resumes, &mut stream, stop);
            (written, verifier.proven())
        });
        let mut threads = Vec::new();
        for (index, lane) in workers.into_iter().enumerate() {
            let (packs, batches) = (&packs, &batches);
            threads.push(
                Builder::new()
                    .name(format!("decompressor-{index}"))
                    .spawn_scoped(scope, move || decompress::run(lane, packs, batches)),
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
    Ok(Received { content, stream_bytes, verification, preallocated: writing.preallocate, not_kept })
}

/// Reads the body to its proven end and deals it to the decompressors. Only then the end is passed on.
fn feed(
    body: &mut Body<'_>,
    transfer: &mut Transfer<'_>,
    mut deal: Deal<PackMessage>,
    packs: &Pool<Pack>,
) -> Result<()> {
    let (running, stop) = (transfer.running, transfer.stop);
    let context = ReceiveContext { idle: transfer.idle, running, progress: transfer.progress, stop };
    match &mut transfer.streams {
        None => {
            let last = receive_body(body, context, packs, &|| false, &mut |pack| {
                deal.send(PackMessage::Some(pack))
            })?;
            transfer.ends();
            if !last.is_empty() {
                deal.send(PackMessage::Some(last))?;
            }
        }
        Some((streams, multi_connection)) => {
            let first = streams.first.take().ok_or_else(|| Error::neighbour("first connection"))?;
            let merged = scope(|scope| {
                let thread = Builder::new().name("stream-0".to_owned());
                let thread = thread.spawn_scoped(scope, || {
                    let _ = receive_stream(body, context, &first);
                    Ok(())
                });
                let merged = streams.merge(multi_connection, &mut deal, stop);
                multi_connection.close();
                streams.end();
                first_cause(merged, join(vec![thread]))
            });
            merged?;
            transfer.ends();
        }
    }
    deal.send(PackMessage::End)
}

/// Reads on for nothing until the writer has cleaned up, which may take minutes after millions of files. A
/// sender whose data nobody takes would give up before it hears why.
pub fn discard(body: &mut Body<'_>, is_done: &dyn Fn() -> bool) {
    while !is_done() {
        match body.next(STOP_TICK) {
            Ok(Some(_)) | Err(BodyError::Conn(ConnError::TimedOut(..))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
