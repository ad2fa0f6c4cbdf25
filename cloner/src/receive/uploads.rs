//! The state of a target: what it is doing, and what it holds.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use decant_shared::net::http::server::Exchange;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;

use crate::digest::Digest;
use crate::error::Result;
use crate::receive::admission::State;
use crate::receive::refusals::Refusals;
use crate::receive::running::CurrentTransfer;
use crate::receive::streams::MultiConnection;
use crate::receive::{Received, Writing};
use crate::volume::destination::Destination;
use crate::volume::writer_lock::{Share, WriterLock};

/// The service behind a target's port.
pub struct UploadService {
    /// How to write.
    pub writing: Writing,
    /// How long a sender may send nothing.
    pub idle: Duration,
    /// The common name that senders must have.
    pub client_name: String,
    /// Counters of the present transfer.
    pub progress: Arc<Progress>,
    /// Ends a transfer early.
    pub stop: Stop,
    /// Told of every transfer that ended, when its answer is out.
    pub outcomes: Sender<Result<Received>>,
    /// What it is doing.
    pub state: Mutex<State>,
    /// The transfer that makes it busy.
    pub running: CurrentTransfer,
    /// Where its connections meet, if it has several.
    pub multi_connection: MultiConnection,
    /// What it holds of a transfer that failed, or that was read back.
    pub held: Mutex<Option<Held>>,
    /// Requests of those that are not the sender.
    pub refusals: Refusals,
    /// What lies in the volume was of no use once. It is not read back again, also where it could not be removed.
    pub is_leftover_useless: AtomicBool,
    /// Keeps other writers away from the directory, from the first time that its sender asks for something until the process ends:
    /// what was read back for the sender stays as it is.
    pub claim: Mutex<Option<Arc<WriterLock>>>,
}

/// The first segments of a content that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of what kind of clone.
    pub content: ContentType,
    /// Their digests.
    pub digests: Vec<Digest>,
}

impl UploadService {
    /// What it is doing.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // The state is a plain value: it is right even if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds of a transfer that failed.
    pub(super) fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the directory, if that was not done before. `Kind::Target`: another process writes there.
    pub(super) fn claim_directory(&self) -> Result<()> {
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Destination::Directory { path, .. }) = (&*claim, &self.writing.destination) {
            *claim = Some(Arc::new(WriterLock::take(path, Share::Whole)?));
        }
        Ok(())
    }

    /// Ends the transfer that is under way if its sender fell silent: another one is there.
    pub(super) fn give_way(&self, exchange: &Exchange) {
        if self.running.give_way(Instant::now()) {
            let peer = &exchange.peer;
            log::warn!("the sender fell silent and {peer} asks for its place: ending the transfer");
        }
    }
}
