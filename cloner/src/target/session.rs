//! One transfer: a request's body through the stages to the destination.

use std::rc::Rc;
use std::thread::{Builder, scope};
use std::time::Duration;

use decant_shared::conn::Fault;
use decant_shared::contract::ContentType;
use decant_shared::http::body::{Body, BodyFault};
use decant_shared::progress::{Phase, Progress};
use decant_shared::stop::{STOP_TICK, Stop, StopReason};

use super::decompress::{self, Packed};
use super::place::Written;
use super::pulled::Pulled;
use super::running::Running;
use super::{Received, Writing, place};
use crate::digest::Digest;
use crate::digest::check::Check;
use crate::error::{Error, Kind, Result};
use crate::frame::split::{Pack, Splitter};
use crate::lanes::{Deal, Pool, lanes};
use crate::threads::{join, verdict};

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
    pub running: &'a Running,
    /// Counts what arrives.
    pub progress: &'a Progress,
    /// Ends it early.
    pub stop: &'a Stop,
    /// The segments that the target holds of an attempt before, if the source goes on from there; after the
    /// transfer, those that it holds now.
    pub held: &'a mut Vec<Digest>,
}

/// Receives `body` and returns when it is written and synced.
pub fn receive(body: &mut Body<'_>, transfer: &mut Transfer<'_>) -> Result<Received> {
    let Transfer { content, announced_bytes, writing, progress, stop, .. } = *transfer;
    let count = writing.decompress_threads.max(1);
    let (deal, workers, collect) = lanes(count, "decompressor");
    let (packs, batches) = (Pool::for_lanes(count), Pool::for_lanes(count));
    if let Some(announced_bytes) = announced_bytes {
        progress.set_total_bytes(announced_bytes);
    }
    progress.enter(Phase::Copy);
    let held = std::mem::take(transfer.held);
    let resumes = !held.is_empty();
    let written = scope(|scope| {
        let writer = Builder::new().name("writer".to_owned()).spawn_scoped(scope, || {
            let check = Rc::new(match content {
                ContentType::Block => Check::new(held),
                ContentType::Filesystem => Check::passing_over(held),
            });
            let length = (content, announced_bytes);
            let mut stream = Pulled::new(collect, &batches, progress, length, Rc::clone(&check));
            let written = place::write(writing, content, announced_bytes, resumes, &mut stream, stop);
            (written, check.proven())
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
                    discard(body, || writer.is_finished());
                }
                let panicked = |_| (Err(Error::new(Kind::Failed, "the writer panicked")), Vec::new());
                let (written, proven) = writer.join().unwrap_or_else(panicked);
                *transfer.held = proven;
                written
            }
            Err(cause) => Err(Error::io(Kind::Failed, "cannot start a thread", cause)),
        };
        let others = join(threads).into_iter().chain(fed.err()).collect();
        verdict(written, others)
    })?;
    let Written { stream_bytes, verdict, not_kept } = written;
    Ok(Received { content, stream_bytes, verdict, preallocated: writing.preallocate, not_kept })
}

/// Reads the body to its proven end and deals it to the decompressors. Only then the end is passed on.
fn feed(
    body: &mut Body<'_>,
    transfer: &Transfer<'_>,
    mut deal: Deal<Packed>,
    packs: &Pool<Pack>,
) -> Result<()> {
    let Transfer { idle, running, progress, stop, .. } = *transfer;
    let mut splitter = Splitter::default();
    let mut pack = packs.take();
    while let Some(mut bytes) = body.next(idle).map_err(describe)? {
        Error::check(stop)?;
        running.heard();
        progress.add_wire_bytes(bytes.len() as u64);
        while !bytes.is_empty() {
            let taken = splitter.feed(bytes, &mut pack)?;
            bytes = &bytes[taken..];
            if !bytes.is_empty() {
                deal.send(Packed::Some(std::mem::replace(&mut pack, packs.take())))?;
            }
        }
    }
    splitter.finish()?;
    running.end();
    progress.enter(Phase::Sync);
    if !pack.is_empty() {
        deal.send(Packed::Some(pack))?;
    }
    deal.send(Packed::End)
}

/// Reads on for nothing until the writer has cleaned up, which may take minutes after millions of files. A
/// sender whose data nobody takes would give up before it hears why.
fn discard(body: &mut Body<'_>, is_done: impl Fn() -> bool) {
    while !is_done() {
        match body.next(STOP_TICK) {
            Ok(Some(_)) | Err(BodyFault::Conn(Fault::TimedOut(..))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn describe(fault: BodyFault) -> Error {
    match fault {
        BodyFault::Cut => Error::damaged("the body ends before its terminating chunk: the source gave up"),
        BodyFault::Bad(bad) => Error::damaged(format!("the chunked body is broken: {bad}")),
        BodyFault::Conn(Fault::Stopped(StopReason::Cancelled)) => {
            Error::new(Kind::Stalled, "the source fell silent and another one took its place")
        }
        BodyFault::Conn(Fault::Stopped(reason)) => Error::stopped(reason),
        BodyFault::Conn(Fault::TimedOut(_, limit)) => {
            Error::new(Kind::Stalled, format!("the source sent nothing for {} s", limit.as_secs()))
        }
        BodyFault::Conn(fault) => {
            Error::new(Kind::Damaged, format!("the connection broke before the body was complete: {fault}"))
        }
    }
}
