//! Limits how much data is written but not yet on disk, and reports how much is on disk.
//!
//! A separate thread syncs while the writer continues. The writer waits only when it is too far ahead: dirty pages
//! never accumulate on any disk, and a clone fits a small memory cgroup. Synced data is dropped from the page cache: it
//! will not be read soon, and other programs need the memory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::progress::Progress;
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::pipeline::join::{first_cause, join};
use crate::volume::close;
use crate::volume::optional_calls::Call;
use crate::writing::checked_stream::CheckedStream;

/// The next sync starts when this many bytes were written and the previous sync is over.
const WINDOW_BYTES: u64 = 4 << 20;
/// The maximum distance between the writer and the running sync. At most twice this much is not on disk.
const AHEAD_BYTES: u64 = 12 << 20;
/// Syncing a filesystem is more expensive than syncing a file, and a tree has more to sync.
const TREE_FACTOR: u64 = 2;
/// A slow stream is synced at this interval, so that its progress is visible.
const EVERY: Duration = Duration::from_secs(1);

/// What is synced, with its path for messages.
pub enum Synced {
    /// One file or device.
    File(File, PathBuf),
    /// The filesystem that this directory is on.
    Tree(OwnedFd, PathBuf),
}

impl Synced {
    fn sync(&self) -> std::io::Result<()> {
        match self {
            Synced::File(file, _) => {
                file.sync_data()?;
                // Advice only: without it, the kernel drops pages when it needs them.
                let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
                Ok(())
            }
            Synced::Tree(directory, _) => Ok(rustix::fs::syncfs(directory)?),
        }
    }

    /// Whether the system call is not supported here. If it is not, each file of a tree is synced when it is complete.
    fn is_missing(&self, cause: &std::io::Error) -> bool {
        let call = match self {
            Synced::File(..) => Call::SyncFile,
            Synced::Tree(..) => Call::SyncFilesystem,
        };
        Errno::from_io_error(cause).is_some_and(|errno| call.is_dispensable(errno))
    }

    /// Closes the descriptor, which is a duplicate: closing it may report an error that closing the original does not.
    fn close(self) -> Result<()> {
        let Synced::File(file, path) = self else { return Ok(()) };
        close::close(file).map_err(|cause| Error::target("close", &path, cause))
    }

    fn path(&self) -> &Path {
        let (Synced::File(_, path) | Synced::Tree(_, path)) = self;
        path
    }

    fn factor(&self) -> u64 {
        if matches!(self, Synced::Tree(..)) { TREE_FACTOR } else { 1 }
    }
}

/// The writer's end.
pub struct Pacer {
    positions: Sender<u64>,
    factor: u64,
    fresh_bytes: u64,
    asked_bytes: u64,
    asked_at: Instant,
    stop: Stop,
}

/// Runs `write` on `stream` while a thread syncs what was written.
pub fn paced<'a, S: CheckedStream<'a>, T>(
    stream: &mut S,
    synced: Synced,
    stop: &Stop,
    write: impl FnOnce(&mut S) -> Result<T>,
) -> Result<T> {
    let progress = stream.progress();
    scope(|scope| {
        let (pacer, thread) = start(scope, synced, progress, stop)?;
        stream.set_pacer(Some(pacer));
        let written = write(stream);
        stream.set_pacer(None);
        first_cause(written, join(vec![Ok(thread)]))
    })
}

/// Starts the thread. It ends when the pacer is dropped.
fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    synced: Synced,
    progress: &'scope Progress,
    stop: &Stop,
) -> Result<(Pacer, ScopedJoinHandle<'scope, Result<()>>)> {
    // Without a buffer: a position is accepted only when the previous sync is over.
    let (positions, taken) = bounded(0);
    let factor = synced.factor();
    progress.set_durable_bytes(0);
    let thread = Builder::new()
        .name("syncer".to_owned())
        .spawn_scoped(scope, move || run(synced, &taken, progress))
        .map_err(|cause| Error::io(Kind::Failed, "cannot start a thread", cause))?;
    let pacer = Pacer {
        positions,
        factor,
        fresh_bytes: 0,
        asked_bytes: 0,
        asked_at: Instant::now(),
        stop: stop.clone(),
    };
    Ok((pacer, thread))
}

fn run(synced: Synced, positions: &Receiver<u64>, progress: &Progress) -> Result<()> {
    for position in positions {
        match synced.sync() {
            Ok(()) => progress.set_durable_bytes(position),
            Err(cause) if synced.is_missing(&cause) => {}
            Err(cause) => return Err(Error::target("sync", synced.path(), cause)),
        }
    }
    synced.close()
}

impl Pacer {
    /// Records that the stream was written up to `position_bytes`. `data_bytes` more of it were data.
    pub fn written(&mut self, position_bytes: u64, data_bytes: u64) -> Result<()> {
        self.fresh_bytes += data_bytes;
        let is_due = self.fresh_bytes >= WINDOW_BYTES * self.factor || self.asked_at.elapsed() >= EVERY;
        if !is_due || position_bytes == self.asked_bytes {
            return Ok(());
        }
        let is_ahead = self.fresh_bytes >= AHEAD_BYTES * self.factor;
        loop {
            let limit = if is_ahead { STOP_TICK } else { Duration::ZERO };
            match self.positions.send_timeout(position_bytes, limit) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(_)) if is_ahead => Error::check(&self.stop)?,
                Err(SendTimeoutError::Timeout(_)) => return Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => return Err(Error::neighbour("syncer")),
            }
        }
        self.fresh_bytes = 0;
        self.asked_bytes = position_bytes;
        self.asked_at = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_reported_as_durable_was_written() {
        let mut file = tempfile::tempfile().unwrap();
        let (progress, stop) = (Progress::new(0), Stop::new());
        std::thread::scope(|scope| {
            let synced = Synced::File(file.try_clone().unwrap(), "disk.img".into());
            let (mut pacer, thread) = start(scope, synced, &progress, &stop).unwrap();
            for at in 1..=64 {
                file.write_all(&[1; 1 << 20]).unwrap();
                pacer.written(at << 20, 1 << 20).unwrap();
                assert!(progress.durable_bytes().unwrap() <= at << 20);
            }
            drop(pacer);
            thread.join().unwrap().unwrap();
        });
        let durable_bytes = progress.durable_bytes().unwrap();
        assert!(durable_bytes >= (64 << 20) - AHEAD_BYTES - WINDOW_BYTES, "{durable_bytes}");
    }

    #[test]
    fn a_failed_syncer_is_noticed() {
        let (progress, stop) = (Progress::new(0), Stop::new());
        // An O_PATH descriptor cannot be synced.
        let named = rustix::fs::open(".", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        std::thread::scope(|scope| {
            let synced = Synced::File(File::from(named), "named".into());
            let (mut pacer, thread) = start(scope, synced, &progress, &stop).unwrap();
            let failed = (1..100).find_map(|at| pacer.written(at << 24, 1 << 24).err());
            assert_eq!(failed.unwrap().kind(), Kind::Neighbour);
            assert_eq!(thread.join().unwrap().unwrap_err().kind(), Kind::Target);
        });
    }
}
