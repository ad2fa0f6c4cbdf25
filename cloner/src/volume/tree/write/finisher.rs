//! A thread that finishes files: sets their attributes and closes them, while the writer creates the next ones.
//!
//! The writer has written the content by then, so what is durable does not depend on this thread. Nothing gets its final
//! name before all files are finished.

use std::fs::File;
use std::io;
use std::thread::{Builder, Scope};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::io::Errno;

use crate::attributes::Kinds;
use crate::error::{Error, Kind, Result};
use crate::volume::close::close;
use crate::volume::tree::write::attributes::Attributes;

/// The number of files that are passed together: waking a thread for each file would cost more than it saves.
const FILES_AT_ONCE: usize = 16;
/// The number of batches that wait.
const DEPTH: usize = 4;

/// A file whose content is complete.
pub(super) struct Unfinished {
    /// The file.
    pub(super) file: File,
    /// What it gets.
    pub(super) attributes: Attributes,
    /// The name of its entry.
    pub(super) name: Vec<u8>,
}

/// What the writer must know about a file that was finished. There is none for most files.
pub(super) enum Finish {
    /// These attributes of the entry could not be kept.
    Lost(Vec<u8>, Kinds),
    /// The attributes could not be set.
    AttributesFailed(Vec<u8>, Errno),
    /// The file could not be closed.
    CloseFailed(Vec<u8>, io::Error),
}

/// The writer's end. The thread ends when it is dropped.
pub(super) struct Finisher {
    batch: Vec<Unfinished>,
    files: Sender<Vec<Unfinished>>,
    /// Holds less than one result for each file that waits, because the writer takes them with every file.
    results: Receiver<Finish>,
}

impl Finisher {
    /// Starts the thread.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Result<Self> {
        let (files, to_finish) = bounded::<Vec<Unfinished>>(DEPTH);
        let (outcome, results) = unbounded();
        Builder::new()
            .name("finisher".to_owned())
            .spawn_scoped(scope, move || {
                for file in to_finish.into_iter().flatten() {
                    finish(file, &outcome);
                }
            })
            .map_err(|cause| Error::io(Kind::Failed, "cannot start a thread", cause))?;
        Ok(Self { batch: Vec::with_capacity(FILES_AT_ONCE), files, results })
    }

    /// Takes a file. Waits if too many are unfinished.
    pub(super) fn take(&mut self, file: Unfinished) -> Result<()> {
        self.batch.push(file);
        if self.batch.len() < FILES_AT_ONCE { Ok(()) } else { self.send() }
    }

    /// The results so far.
    pub(super) fn results(&self) -> impl Iterator<Item = Finish> + '_ {
        self.results.try_iter()
    }

    /// Waits until all files are finished, and returns the rest of the results.
    pub(super) fn end(mut self) -> Result<Vec<Finish>> {
        self.send()?;
        let Self { files, results, .. } = self;
        drop(files);
        Ok(results.into_iter().collect())
    }

    fn send(&mut self) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(FILES_AT_ONCE));
        self.files.send(batch).map_err(|_| Error::neighbour("finisher"))
    }
}

/// Finishes one file. The writer is gone only if it has failed, so then the results do not matter.
fn finish(unfinished: Unfinished, results: &Sender<Finish>) {
    let Unfinished { file, attributes, name } = unfinished;
    match attributes.apply_to(&file) {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => drop(results.send(Finish::Lost(name.clone(), lost))),
        Err(cause) => drop(results.send(Finish::AttributesFailed(name.clone(), cause))),
    }
    if let Err(cause) = close(file) {
        let _ = results.send(Finish::CloseFailed(name, cause));
    }
}
