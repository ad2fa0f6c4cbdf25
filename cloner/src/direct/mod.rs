//! The direct clone: one process that reads the source and writes the target, without a network in between.
//!
//! ```text
//! reader -> batches -> writer
//! ```
//!
//! The reader reads the volume into [`batch`]es of data and zero runs, and computes the digests ([`batch_sink`]). The
//! writer takes the same logical stream as a target that receives a clone ([`batch_stream`]), so everything that a
//! network clone guarantees for the target also holds here. `held` decides what is kept of a previous attempt.

pub mod batch;
pub mod batch_sink;
pub mod batch_stream;
mod held;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, scope};

use crossbeam_channel::bounded;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::units::Bytes;

use crate::digest::{Digest, SEGMENT_BYTES};
use crate::direct::batch::batches;
use crate::direct::batch_sink::{BatchSink, SinkContext};
use crate::direct::batch_stream::BatchStream;
use crate::error::{Error, Kind, Result};
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::volume::Volume;
use crate::volume::destination::{Destination, KeepPartial};
use crate::volume::tree::read::plan::Options;
use crate::writing::write::{WriteResult, write_destination};
use crate::writing::{Writing, WrittenClone};

/// What to clone directly, and how.
#[derive(Debug, Clone)]
pub struct DirectSource {
    /// The device, file or directory to read.
    pub path: PathBuf,
    /// What it is.
    pub content: ContentType,
    /// The limit on the bytes that are read. All attempts share it.
    pub limiter: Arc<RateLimiter>,
    /// Whether to write everything, even what a previous attempt left.
    pub restart: bool,
}

/// A direct clone that is ready to run: the source is open, and what the target holds of it is known.
pub struct DirectClone<'a> {
    source: &'a DirectSource,
    writing: Writing,
    volume: Volume,
    kept: Vec<Digest>,
    progress: &'a Progress,
    stop: &'a Stop,
}

impl<'a> DirectClone<'a> {
    /// Opens and measures the source, and compares it with what a previous attempt left at the target. The caller must
    /// hold the lock of the target's directory. Preallocation makes every file of a tree dense, as in a network clone.
    pub fn prepare(
        source: &'a DirectSource,
        writing: &Writing,
        progress: &'a Progress,
        stop: &'a Stop,
    ) -> Result<Self> {
        progress.enter(Phase::Scan);
        // Measuring the attributes would take as long as reading them: progress counts the stream without them.
        let options = Options { sparse: !writing.preallocate, attributes: false };
        let volume = Volume::open(&source.path, source.content, options, stop)?;
        if let Some(total_bytes) = volume.stream_bytes(false) {
            progress.set_total_bytes(total_bytes);
        }
        let writing = Writing {
            keep_partial: if writing.can_resume(source.content) {
                writing.keep_partial
            } else {
                KeepPartial::Never
            },
            finishes_apart: true,
            // Preallocated space must not be shared, because a later write to a shared block needs new space. Devices have no
            // blocks to share.
            shares: !writing.preallocate && matches!(writing.destination, Destination::Directory { .. }),
            is_exact: has_attributes(source, writing) || writing.is_exact,
            ..writing.clone()
        };
        let kept = match writing.keep_partial {
            KeepPartial::Never => Vec::new(),
            _ if source.restart => Vec::new(),
            _ => held::kept(&volume, source.content, &writing.destination, stop)?,
        };
        let clone = Self { source, writing, volume, kept, progress, stop };
        progress.set_kept_bytes(clone.kept_bytes());
        Ok(clone)
    }

    /// The number of bytes that are kept of a previous attempt.
    pub fn kept_bytes(&self) -> u64 {
        let total_bytes = self.progress.total_bytes().unwrap_or(u64::MAX);
        (self.kept.len() as u64).saturating_mul(SEGMENT_BYTES).min(total_bytes)
    }

    /// Clones the volume. Returns when it is written and synced. If what a previous attempt left turns out to be useless,
    /// everything is written.
    pub fn run(mut self) -> Result<WrittenClone> {
        if self.kept_bytes() > 0 {
            let total_bytes = self.progress.total_bytes().unwrap_or(self.kept_bytes());
            log::info!("resuming after the first {} of {}", Bytes(self.kept_bytes()), Bytes(total_bytes));
        }
        let outcome = match self.attempt() {
            Err(error) if error.kind() == Kind::Leftover && !self.kept.is_empty() => {
                log::warn!("{error}");
                self.kept.clear();
                self.progress.restart();
                self.attempt()
            }
            outcome => outcome,
        };
        match &outcome {
            Ok(_) => self.progress.finish_ok(),
            Err(_) => self.progress.enter(Phase::Failed),
        }
        outcome
    }

    fn attempt(&self) -> Result<WrittenClone> {
        let Self { source, writing, volume, kept, progress, stop } = self;
        let content = source.content;
        let announced_bytes = volume.certain_bytes();
        let (deal, collect, pool) = batches();
        let pool = &pool;
        let (answers, answered) = writing.shares.then(|| bounded(1)).unzip();
        progress.enter(Phase::Copy);
        let written = scope(|scope| {
            let reader = Builder::new().name("reader".to_owned()).spawn_scoped(scope, move || {
                let context = SinkContext { pool, progress, stop };
                self.read(BatchSink::new(deal, context, &source.limiter).sharing(answered))
            });
            let writer = Builder::new().name("writer".to_owned()).spawn_scoped(scope, move || {
                let passing_bytes = match content {
                    ContentType::Block => 0,
                    ContentType::Filesystem => kept.len() as u64 * SEGMENT_BYTES,
                };
                let stream = BatchStream::new(collect, pool, progress, passing_bytes, stop);
                let mut stream = stream.answering(answers);
                write_destination(writing, content, announced_bytes, !kept.is_empty(), &mut stream, stop)
            });
            let written = match writer {
                Ok(writer) => {
                    let panicked = |_| Err(Error::new(Kind::Failed, "the writer panicked"));
                    writer.join().unwrap_or_else(panicked)
                }
                Err(cause) => Err(Error::io(Kind::Failed, "cannot start a thread", cause)),
            };
            first_cause(written, join(vec![reader]))
        })?;
        let WriteResult { stream_bytes, verification, not_kept } = written;
        Ok(WrittenClone { content, stream_bytes, verification, preallocated: writing.preallocate, not_kept })
    }

    /// Reads the volume into `batches`, except the content of the first segments that the target already holds.
    fn read(&self, mut batches: BatchSink<'_>) -> Result<()> {
        match self.volume.certain_bytes() {
            Some(size_bytes) => batches.keep(&self.kept, size_bytes)?,
            None => batches.pass_over(&self.kept),
        }
        let start_bytes = self.kept.len() as u64 * SEGMENT_BYTES;
        let attributes = has_attributes(self.source, &self.writing);
        self.volume.read(start_bytes, attributes, &mut batches, self.stop)?;
        batches.finish()
    }
}

/// Whether the entries of a tree keep their attributes. A device has no place for them.
fn has_attributes(source: &DirectSource, writing: &Writing) -> bool {
    source.content == ContentType::Filesystem && matches!(writing.destination, Destination::Directory { .. })
}
