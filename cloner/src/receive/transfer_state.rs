//! The state of a target, with the data that belongs to it: one value with one lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::stream_id::StreamId;

use crate::digest::Digest;
use crate::receive::streams::{self, OpenStreams, StreamSlot, Streams};

/// A sender that was silent for this long is replaced when another sender with its name connects. A clone has only one
/// source, so a second one means that the first is gone. If a pod loses its network, there is no other sign of that.
const SILENT: Duration = Duration::from_secs(5);

/// What a target is doing.
#[derive(Debug)]
pub enum TransferState {
    /// It waits for a sender.
    Idle {
        /// The segments that it holds from a failed transfer, or that it read back.
        held: Option<Held>,
    },
    /// A transfer is running, or the target reads back its segments to answer a request.
    Busy(CurrentTransfer),
    /// A transfer succeeded. No other transfer follows.
    Done,
    /// No sender came in time, and the process is ending.
    Leaving,
}

/// The first segments of incomplete content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The kind of clone.
    pub content: ContentType,
    /// The digests of the segments.
    pub digests: Vec<Digest>,
}

/// What other connections need to know about the current transfer.
#[derive(Debug, Default)]
pub struct CurrentTransfer {
    /// `None` if there is no sender, or if it has sent everything and may be silent.
    sender: Option<LiveSender>,
    /// The streams that can be joined, if the clone comes over several connections.
    streams: Option<OpenStreams>,
}

#[derive(Debug)]
struct LiveSender {
    /// Ends the waits of the sender's connection.
    connection: Stop,
    /// Ends all stages: the writer may need a long time for the few bytes of a silent sender.
    stages: Stop,
    heard: Instant,
}

impl CurrentTransfer {
    /// A transfer that starts now. `connection` ends the waits of its connection, `stages` ends everything that works
    /// for it.
    pub fn of_sender(connection: Stop, stages: Stop) -> Self {
        Self { sender: Some(LiveSender { connection, stages, heard: Instant::now() }), streams: None }
    }
}

/// Why a target cannot start a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// It is busy with another transfer.
    Busy,
    /// It is done, or its process is ending.
    Over,
}

/// The state of a target, with its lock.
#[derive(Debug)]
pub struct UploadState(Mutex<TransferState>);

impl Default for UploadState {
    fn default() -> Self {
        Self(Mutex::new(TransferState::Idle { held: None }))
    }
}

impl UploadState {
    /// Locks the state: it does not change until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, TransferState> {
        // The value is plain data, which is valid even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an idle target busy with `transfer` until the guard is dropped.
    pub fn begin(&self, transfer: CurrentTransfer) -> Result<Busy<'_>, Unavailable> {
        self.begin_locked(&mut self.lock(), transfer)
    }

    /// Like [`Self::begin`], for a state that is locked already.
    pub fn begin_locked(
        &self,
        state: &mut TransferState,
        transfer: CurrentTransfer,
    ) -> Result<Busy<'_>, Unavailable> {
        match state {
            TransferState::Idle { held } => {
                let held = held.take();
                *state = TransferState::Busy(transfer);
                Ok(Busy { state: self, held, has_succeeded: false })
            }
            TransferState::Busy(_) => Err(Unavailable::Busy),
            TransferState::Done | TransferState::Leaving => Err(Unavailable::Over),
        }
    }

    /// The stop token of everything that works for the current sender; `None` if there is no sender.
    pub fn stages(&self) -> Option<Stop> {
        match &*self.lock() {
            TransferState::Busy(CurrentTransfer { sender: Some(sender), .. }) => Some(sender.stages.clone()),
            _ => None,
        }
    }

    /// Notes that the sender sent something.
    pub fn heard(&self) {
        if let TransferState::Busy(CurrentTransfer { sender: Some(sender), .. }) = &mut *self.lock() {
            sender.heard = Instant::now();
        }
    }

    /// Notes that the sender has sent everything, so its silence means nothing.
    pub fn sent_everything(&self) {
        if let TransferState::Busy(transfer) = &mut *self.lock() {
            transfer.sender = None;
        }
    }

    /// Handles another sender that wants to replace the current one. Ends the transfer if its sender has been silent
    /// until `now`. Returns whether it did.
    pub fn give_way(&self, now: Instant) -> bool {
        match &*self.lock() {
            TransferState::Busy(CurrentTransfer { sender: Some(sender), .. })
                if now.saturating_duration_since(sender.heard) >= SILENT =>
            {
                sender.connection.cancel();
                sender.stages.cancel();
                true
            }
            _ => false,
        }
    }

    /// The slot of a follower connection; `None` if no clone waits for it.
    pub fn join(&self, stream: StreamId) -> Option<StreamSlot> {
        match &mut *self.lock() {
            TransferState::Busy(CurrentTransfer { streams: Some(streams), .. }) => streams.join(stream),
            _ => None,
        }
    }
}

/// A busy target. When this is dropped, the target is idle again, or done.
#[must_use]
pub struct Busy<'a> {
    state: &'a UploadState,
    /// The segments that the target holds from a failed transfer, or that it read back.
    pub held: Option<Held>,
    has_succeeded: bool,
}

impl Busy<'_> {
    /// Opens the clone for the connections that follow `lead`. `connection` is the stop token of the first one.
    pub fn open_streams(&self, lead: StreamId, connection: Stop) -> Streams {
        let (streams, open) = streams::open(lead, connection);
        if let TransferState::Busy(transfer) = &mut *self.state.lock() {
            transfer.streams = Some(open);
        }
        streams
    }

    /// Ends the transfer. After a successful transfer no other one follows.
    pub fn end(mut self, has_succeeded: bool) {
        self.has_succeeded = has_succeeded;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.state.lock() = match self.has_succeeded {
            true => TransferState::Done,
            false => TransferState::Idle { held: self.held.take() },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_sender_gives_way() {
        let state = UploadState::default();
        assert!(!state.give_way(Instant::now() + SILENT));
        let (connection, stages) = (Stop::new(), Stop::new());
        let transfer = CurrentTransfer::of_sender(connection.clone(), stages.clone());
        let _busy = state.begin(transfer).unwrap();
        assert!(!state.give_way(Instant::now()));
        assert!(!connection.is_set() && !stages.is_set());
        assert!(state.give_way(Instant::now() + SILENT));
        assert!(connection.is_set() && stages.is_set());
    }

    #[test]
    fn a_sender_that_has_sent_everything_may_be_silent() {
        let state = UploadState::default();
        let _busy = state.begin(CurrentTransfer::of_sender(Stop::new(), Stop::new())).unwrap();
        state.sent_everything();
        assert!(!state.give_way(Instant::now() + SILENT * 100));
    }

    #[test]
    fn one_transfer_runs_at_a_time_and_one_succeeds() {
        let state = UploadState::default();
        let mut busy = state.begin(CurrentTransfer::default()).unwrap();
        assert_eq!(state.begin(CurrentTransfer::default()).err(), Some(Unavailable::Busy));
        let held = Held { content: ContentType::Block, digests: Vec::new() };
        busy.held = Some(held.clone());
        busy.end(false);
        let busy = state.begin(CurrentTransfer::default()).unwrap();
        assert_eq!(busy.held, Some(held), "the next transfer finds what a failed one left");
        busy.end(true);
        assert_eq!(state.begin(CurrentTransfer::default()).err(), Some(Unavailable::Over));
    }

    #[test]
    fn a_connection_joins_only_while_its_clone_is_open() {
        let state = UploadState::default();
        let lead = StreamId { attempt: 7, index: 0, count: 2 };
        let follower = StreamId { index: 1, ..lead };
        assert!(state.join(follower).is_none());
        let busy = state.begin(CurrentTransfer::default()).unwrap();
        assert!(state.join(follower).is_none());
        let _streams = busy.open_streams(lead, Stop::new());
        assert!(state.join(follower).is_some());
        drop(busy);
        assert!(state.join(follower).is_none());
    }
}
