//! A thread that finishes files while the writer creates the next ones: it writes the content of small files, and sets the
//! attributes of all files and closes them.
//!
//! Nothing gets its final name before all files are finished. Content that this thread has not written yet, and what
//! follows it in the stream, is not reported as durable ([`Finisher::first_unwritten`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::thread::{Builder, Scope};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use decant_shared::process::stop::Stop;
use rustix::io::Errno;

use crate::attributes::Kinds;
use crate::error::{Error, Kind, Result};
use crate::volume::close::close;
use crate::volume::tree::write::attributes::Attributes;
use crate::volume::tree::write::content::Incomplete;
use crate::volume::tree::write::small_content::{MEDIUM_FILE_BYTES, SMALL_FILE_BYTES, SmallContent};

/// The number of files that are passed together: waking a thread for each file would cost more than it saves.
const FILES_AT_ONCE: usize = 16;
/// The number of batches that wait. With the batch that the writer fills and the one that this thread finishes, they hold
/// at most 2 MiB of content, because at most three of these batches have files of more than 8 KiB.
const DEPTH: usize = 4;

/// A file that is not finished.
pub(super) struct Unfinished {
    /// The file.
    pub(super) file: File,
    /// Its content, if it is not written yet.
    pub(super) content: Option<SmallContent>,
    /// What it gets.
    pub(super) attributes: Attributes,
    /// The name of its entry.
    pub(super) name: Vec<u8>,
}

/// What the writer must know about a file that was finished. There is none for most files.
pub(super) enum Finish {
    /// These attributes of the entry could not be kept.
    Lost(Vec<u8>, Kinds),
    /// The content of a file of this size could not be written.
    WriteFailed { name: Vec<u8>, size_bytes: u64, why: Incomplete },
    /// The attributes could not be set.
    AttributesFailed(Vec<u8>, Errno),
    /// The file could not be closed.
    CloseFailed(Vec<u8>, io::Error),
}

/// The writer's end. The thread ends when it is dropped.
pub(super) struct Finisher {
    batch: Vec<Unfinished>,
    files: Sender<Vec<Unfinished>>,
    /// The position in the stream of each content that this thread has not reported as written.
    unwritten_from: VecDeque<u64>,
    /// For each finished batch, the number of its files with content.
    written: Receiver<usize>,
    /// Holds less than one result for each file that waits, because the writer takes them with every file.
    results: Receiver<Finish>,
}

impl Finisher {
    /// Starts the thread.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, stop: &Stop) -> Result<Self> {
        let (files, to_finish) = bounded::<Vec<Unfinished>>(DEPTH);
        let (count, written) = unbounded();
        let (outcome, results) = unbounded();
        let stop = stop.clone();
        Builder::new()
            .name("finisher".to_owned())
            .spawn_scoped(scope, move || {
                for batch in to_finish {
                    let contents = batch.iter().filter(|file| file.content.is_some()).count();
                    for file in batch {
                        finish(file, &outcome, &stop);
                    }
                    // After the results, so that a writer that sees the count also sees a failure. The writer is gone only if
                    // it has failed.
                    let _ = count.send(contents);
                }
            })
            .map_err(|cause| Error::io(Kind::Failed, "cannot start a thread", cause))?;
        Ok(Self {
            batch: Vec::with_capacity(FILES_AT_ONCE),
            files,
            unwritten_from: VecDeque::new(),
            written,
            results,
        })
    }

    /// Whether this thread should write the content of a new file of this size, instead of the writer.
    pub(super) fn should_write(&self, size_bytes: u64) -> bool {
        let limit_bytes = if self.files.is_empty() { MEDIUM_FILE_BYTES } else { SMALL_FILE_BYTES };
        (1..=limit_bytes).contains(&size_bytes)
    }

    /// Takes a file whose content starts at `position_bytes` of the stream. Waits if too many files are unfinished.
    pub(super) fn take(&mut self, file: Unfinished, position_bytes: u64) -> Result<()> {
        if file.content.is_some() {
            self.unwritten_from.push_back(position_bytes);
        }
        self.batch.push(file);
        if self.batch.len() < FILES_AT_ONCE { Ok(()) } else { self.send() }
    }

    /// The position in the stream of the first content that may not be written yet.
    pub(super) fn first_unwritten(&mut self) -> Option<u64> {
        let written: usize = self.written.try_iter().sum();
        self.unwritten_from.drain(..written);
        self.unwritten_from.front().copied()
    }

    /// Waits until all content is written.
    pub(super) fn write_all(&mut self) -> Result<()> {
        self.send()?;
        while self.first_unwritten().is_some() {
            let written = self.written.recv().map_err(|_| Error::neighbour("finisher"))?;
            self.unwritten_from.drain(..written);
        }
        Ok(())
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
fn finish(unfinished: Unfinished, results: &Sender<Finish>, stop: &Stop) {
    let Unfinished { file, content, attributes, name } = unfinished;
    if let Some(content) = content
        && let Err(why) = content.write(&file, stop)
    {
        let _ = results.send(Finish::WriteFailed { name, size_bytes: content.size_bytes, why });
        return;
    }
    match attributes.apply_to(&file) {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => drop(results.send(Finish::Lost(name.clone(), lost))),
        Err(cause) => drop(results.send(Finish::AttributesFailed(name.clone(), cause))),
    }
    if let Err(cause) = close(file) {
        let _ = results.send(Finish::CloseFailed(name, cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Piece;
    use crate::tar::entry::Entry;
    use crate::tar::reader::ArchiveReader;
    use std::fs;
    use std::path::Path;
    use std::thread::scope;

    /// The first entry of an archive with one file of `size` bytes, and its content.
    fn unfinished(directory: &Path, name: &str, size: usize) -> Unfinished {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, vec![b'x'; size].as_slice()).unwrap();
        let bytes = archive.into_inner().unwrap();
        let mut slice = bytes.as_slice();
        let mut reader = ArchiveReader::new(&mut slice);
        let entry: Entry = reader.next_entry().unwrap().unwrap();
        let content = SmallContent::take(&mut reader, entry.size_bytes).unwrap();
        assert!(matches!(reader.next_data(1), Ok(None::<(u64, Piece<'_>)>)));
        let file = File::create(directory.join(name)).unwrap();
        Unfinished {
            file,
            content: Some(content),
            attributes: Attributes::of(&entry, false),
            name: name.into(),
        }
    }

    #[test]
    fn medium_files_are_written_by_the_writer_while_a_batch_waits() {
        let (files, to_finish) = bounded::<Vec<Unfinished>>(DEPTH);
        let finisher = Finisher {
            batch: Vec::new(),
            files,
            unwritten_from: VecDeque::new(),
            written: unbounded().1,
            results: unbounded().1,
        };
        let sizes = [0, 1, SMALL_FILE_BYTES, SMALL_FILE_BYTES + 1, MEDIUM_FILE_BYTES, MEDIUM_FILE_BYTES + 1];
        let decisions = || sizes.map(|size_bytes| finisher.should_write(size_bytes));
        assert_eq!(decisions(), [false, true, true, true, true, false]);
        finisher.files.send(Vec::new()).unwrap();
        assert_eq!(decisions(), [false, true, true, false, false, false]);
        to_finish.recv().unwrap();
        assert!(finisher.should_write(MEDIUM_FILE_BYTES));
    }

    #[test]
    fn content_counts_as_unwritten_until_it_is_in_its_file() {
        let directory = tempfile::tempdir().unwrap();
        scope(|scope| {
            let mut finisher = Finisher::start(scope, &Stop::new()).unwrap();
            assert_eq!(finisher.first_unwritten(), None);
            for number in 0..100 {
                let file = unfinished(directory.path(), &number.to_string(), 1000);
                finisher.take(file, number * 1536).unwrap();
                if let Some(position) = finisher.first_unwritten() {
                    for before in 0..position / 1536 {
                        let written = fs::metadata(directory.path().join(before.to_string())).unwrap();
                        assert_eq!(written.len(), 1000);
                    }
                }
            }
            finisher.write_all().unwrap();
            assert_eq!(finisher.first_unwritten(), None);
            assert!(finisher.end().unwrap().is_empty());
        });
        for number in 0..100 {
            assert_eq!(fs::read(directory.path().join(number.to_string())).unwrap(), vec![b'x'; 1000]);
        }
    }
}
