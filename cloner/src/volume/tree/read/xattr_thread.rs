//! Measures the extended headers of a tree in a separate thread, in parallel with the scan: reading attributes takes
//! longer than reading the metadata of an entry.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use decant_shared::process::stop::Stop;

use crate::attributes::Kinds;
use crate::attributes::meta::Meta;
use crate::attributes::not_kept::NotKept;
use crate::error::{Error, Kind, Result};
use crate::tar::field::BLOCK_BYTES;
use crate::volume::tree::read::extended::Extended;
use crate::volume::tree::read::lstat::Found;

/// The number of entries in a batch: waking up a thread takes as long as several entries.
const BATCH_ENTRIES: usize = 256;
/// The maximum number of directories in a batch: each is an open file.
const BATCH_DIRECTORIES: usize = 8;
/// The number of batches that may wait: two let both threads run in parallel. Each batch has about 30 KiB.
const BATCHES: usize = 2;

/// The parts of an archive other than header blocks and content.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Length of all extended headers.
    pub(super) extended_bytes: u64,
    /// What an archive without extended headers lacks.
    pub(super) only_in_attributes: NotKept,
}

impl Measured {
    /// Adds an entry with these records. Returns whether it has an extended header.
    pub(super) fn add(&mut self, records: &[u8]) -> bool {
        if !records.is_empty() {
            self.extended_bytes += BLOCK_BYTES + (records.len() as u64).next_multiple_of(BLOCK_BYTES);
        }
        !records.is_empty()
    }
}

/// The scan's handle of the thread.
pub(super) struct XattrThread {
    batch: XattrBatch,
    to_thread: Sender<XattrBatch>,
    thread: JoinHandle<Result<Measured>>,
}

#[derive(Default)]
struct XattrBatch {
    directories: Vec<XattrDirectory>,
    entries: Vec<XattrEntry>,
    /// All names, each followed by a zero byte.
    names: Vec<u8>,
}

struct XattrDirectory {
    fd: OwnedFd,
    /// The path of the directory, for messages.
    path: Vec<u8>,
    /// Where the path from the root starts in the path of an entry.
    member_start: usize,
}

struct XattrEntry {
    /// The index of the entry's directory.
    directory: usize,
    meta: Meta,
    /// Attributes that are lost in any case.
    unsent: Kinds,
}

impl XattrThread {
    /// Starts the thread. The thread ends when the handle is dropped.
    pub(super) fn start(stop: &Stop) -> Result<Self> {
        let (to_thread, batches) = bounded(BATCHES);
        let stop = stop.clone();
        let thread = Builder::new().name("attributes".to_owned()).spawn(move || measure(&batches, &stop));
        let thread = thread.map_err(|cause| Error::io(Kind::Failed, "cannot start a thread", cause))?;
        Ok(Self { batch: XattrBatch::default(), to_thread, thread })
    }

    /// Measures the extended header of an entry.
    pub(super) fn entry(&mut self, found: &Found<'_>, meta: &Meta, unsent: Kinds) -> Result<()> {
        let path = &found.full[..found.full.len() - found.name.to_bytes().len() - 1];
        if self.batch.directories.last().is_none_or(|directory| directory.path != path) {
            if self.batch.directories.len() == BATCH_DIRECTORIES {
                self.hand_over()?;
            }
            // The walk may close the directory before the thread processes the entry.
            let fd = found.dir.try_clone_to_owned();
            let fd = fd.map_err(|cause| Error::source("keep open the directory of", found.path(), cause))?;
            let member_start = found.full.len() - found.member.len();
            self.batch.directories.push(XattrDirectory { fd, path: path.to_vec(), member_start });
        }
        let directory = self.batch.directories.len() - 1;
        self.batch.entries.push(XattrEntry { directory, meta: *meta, unsent });
        self.batch.names.extend_from_slice(found.name.to_bytes_with_nul());
        if self.batch.entries.len() == BATCH_ENTRIES { self.hand_over() } else { Ok(()) }
    }

    /// Ends the thread and returns its result.
    pub(super) fn finish(mut self) -> Result<Measured> {
        // If the thread has failed, its own error is returned below.
        let _ = self.hand_over();
        drop(self.to_thread);
        let panicked = |_| Err(Error::new(Kind::Failed, "the thread for attributes panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }

    fn hand_over(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.to_thread.send(batch).map_err(|_| Error::neighbour("thread for attributes"))
    }
}

fn measure(batches: &Receiver<XattrBatch>, stop: &Stop) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut extended = Extended::new();
    let mut full = Vec::new();
    for batch in batches {
        let mut names = batch.names.as_slice();
        for XattrEntry { directory, meta, unsent } in &batch.entries {
            let directory = &batch.directories[*directory];
            let name = CStr::from_bytes_until_nul(names);
            let name =
                name.map_err(|_| Error::new(Kind::Failed, "an entry was handed over without its name"))?;
            names = &names[name.to_bytes_with_nul().len()..];
            full.clear();
            full.extend_from_slice(&directory.path);
            full.push(b'/');
            full.extend_from_slice(name.to_bytes());
            let member = &full[directory.member_start..];
            let dir = directory.fd.as_fd();
            let file_type = meta.file_type;
            let found = Found { dir, name, file_type, member, full: &full, stop };
            let kinds = extended.collect(&found, meta, None, *unsent)?;
            if measured.add(extended.records()) {
                measured.only_in_attributes.add(kinds, || member.to_vec());
            }
        }
    }
    Ok(measured)
}
