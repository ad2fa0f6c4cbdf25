//! The upload server: admits one sender at a time, answers it, and knows when the process is done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Service};
use decant_shared::net::tls::common_name::common_name;
use decant_shared::process::printable::Escaped;
use decant_shared::process::stop::{Stop, StopReason};
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::session::NOT_KEPT_PREFIX;
use decant_shared::protocol::stream_id::StreamId;
use rustls::pki_types::CertificateDer;

use crate::error::{Error, Kind, Result};
use crate::receive::REPLACED;
use crate::receive::admission::{Admission, AdmittedUpload, PeerIdentity, admit};
use crate::receive::body::{ReceiveContext, receive_stream};
use crate::receive::pipeline::{self, Transfer};
use crate::receive::streams::Streams;
use crate::receive::transfer_state::{Busy, CurrentTransfer, Held, TransferState, UploadState};
use crate::volume::destination::{Destination, KeepPartial};
use crate::volume::tree::write::leaves_something;
use crate::volume::writer_lock::{Share, WriterLock};
use crate::writing::{Writing, WrittenClone};

/// The type of answers: people read them, and CDI's cloner ignores them.
const TEXT: &str = "text/plain; charset=utf-8";

/// The service at a target's port.
pub struct UploadService {
    pub(super) writing: Writing,
    /// How long a sender may send nothing.
    idle: Duration,
    /// The common name that senders must have.
    client_name: String,
    /// Counters of the current transfer.
    pub(super) progress: Arc<Progress>,
    /// Ends a transfer early.
    pub(super) stop: Stop,
    /// Gets the outcome of every transfer, after its answer was sent.
    outcomes: Sender<Result<WrittenClone>>,
    pub(super) state: UploadState,
    refusals: Refusals,
    /// The leftover in the volume was of no use once. It is not read back again, even if it could not be removed.
    pub(super) is_leftover_useless: AtomicBool,
    /// Keeps other writers out of the directory, from the first request of the sender until the process ends: data that
    /// was read back for the sender must not change.
    claim: OnceLock<Arc<WriterLock>>,
}

impl UploadService {
    /// A service that writes as `writing` describes, for senders with the common name `client_name`. A sender that
    /// sends nothing for `idle` has failed. `outcomes` gets the outcome of every transfer.
    pub fn new(
        writing: Writing,
        idle: Duration,
        client_name: String,
        progress: Arc<Progress>,
        stop: Stop,
        outcomes: Sender<Result<WrittenClone>>,
    ) -> Self {
        Self {
            writing,
            idle,
            client_name,
            progress,
            stop,
            outcomes,
            state: UploadState::default(),
            refusals: Refusals::default(),
            is_leftover_useless: AtomicBool::new(false),
            claim: OnceLock::new(),
        }
    }

    /// Uses the lock of a caller that has already claimed the directory.
    #[must_use]
    pub fn claimed(self, claim: Option<Arc<WriterLock>>) -> Self {
        Self { claim: claim.map(OnceLock::from).unwrap_or_default(), ..self }
    }

    /// Calls `leaves` if the target is idle. No transfer can start during the call. If it returns `true`, the target
    /// admits nothing from then on. Returns whether that is the case.
    pub fn leave_if(&self, leaves: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let mut state = self.state.lock();
        let is_leaving = matches!(*state, TransferState::Idle { .. }) && leaves()?;
        if is_leaving {
            *state = TransferState::Leaving;
        }
        Ok(is_leaving)
    }

    /// Claims the directory, if that was not done yet. Errors: `Kind::Target` if another process writes there.
    pub(super) fn claim_directory(&self) -> Result<()> {
        if let (None, Destination::Directory { path, .. }) = (self.claim.get(), &self.writing.destination) {
            // The caller has made the target busy, so no other thread sets it.
            let _ = self.claim.set(Arc::new(WriterLock::take(path, Share::Whole)?));
        }
        Ok(())
    }

    /// Ends the current transfer if its sender is silent, because another sender has connected.
    pub(super) fn give_way(&self, exchange: &Exchange) {
        if self.state.give_way(Instant::now()) {
            let peer = &exchange.peer;
            log::warn!("the sender is silent and {peer} asks for its place: ending the transfer");
        }
    }

    /// Decides about a request and, if it is an upload, makes the target busy.
    fn admit(&self, exchange: &Exchange) -> Admitted<'_> {
        let leaf = exchange.peer_certificates().first();
        let name = leaf.map(|leaf| common_name(leaf).ok());
        let peer = match (&name, exchange.is_encrypted()) {
            (Some(name), _) => PeerIdentity::Named(name.as_deref()),
            (None, true) => PeerIdentity::Anonymous,
            (None, false) => PeerIdentity::Plain,
        };
        let is_sender = peer == PeerIdentity::Named(Some(&self.client_name));
        let mut state = self.state.lock();
        let admission = admit(&exchange.request, peer, &self.client_name, &state);
        let busy = match admission {
            Admission::Upload(_) => {
                let transfer = CurrentTransfer::of_sender(exchange.stop(), self.stop.child());
                self.state.begin_locked(&mut state, transfer).ok()
            }
            Admission::Answer(..) | Admission::Greet | Admission::Report | Admission::Join(_) => None,
        };
        Admitted { admission, is_sender, busy }
    }

    /// Logs a refused request: every one from the sender, but only some from other clients.
    fn log_refusal(&self, exchange: &Exchange, is_sender: bool, status: u16, text: &str) {
        let request = &exchange.request;
        if request.path == "/healthz" {
            return;
        }
        let method = Escaped::of_peer(&request.method);
        let path = Escaped::of_peer(&request.path);
        let peer = &exchange.peer;
        if is_sender {
            log::info!("{method} {path} from {peer}: {status} {text}");
            return;
        }
        log::debug!("{method} {path} from {peer}: {status} {text}");
        if let Some(count) = self.refusals.count() {
            log::info!(
                "{count} requests of others than the sender so far; the last one, {method} {path} from {peer}, \
                 was answered {status} {text}"
            );
        }
    }

    /// Receives a part of the clone that another connection leads. Answers when that connection has an outcome.
    fn join(&self, exchange: &mut Exchange, stream: StreamId) -> Result<(), ConnError> {
        let Some(slot) = self.state.join(stream) else {
            return exchange.answer(503, TEXT, "no clone waits for this connection");
        };
        log::debug!("stream {} of {} from {}", stream.index, stream.count, exchange.peer);
        let mut body = exchange.body()?;
        let context = ReceiveContext {
            idle: self.idle,
            state: &self.state,
            progress: &self.progress,
            stop: &self.stop,
        };
        if !receive_stream(&mut body, context, &slot) {
            pipeline::discard(&mut body, &|| slot.has_answer());
        }
        let (status, text) = slot.wait_for_answer(&self.stop);
        exchange.answer(status, TEXT, &text)
    }

    /// Receives an admitted upload. What remains of it for the next attempt is stored in `busy`.
    fn receive(
        &self,
        exchange: &mut Exchange,
        upload: AdmittedUpload,
        streams: Option<&mut Streams>,
        busy: &mut Busy<'_>,
    ) -> Result<WrittenClone> {
        let AdmittedUpload { content, announced_bytes, resume, has_attributes, .. } = upload;
        let held = busy.held.take().filter(|held| held.content == content);
        let mut held = held.map_or(Vec::new(), |held| held.digests);
        held.truncate(resume.unwrap_or(0));
        let writing = Writing {
            keep_partial: match resume {
                Some(_) if self.writing.can_resume(content) => self.writing.keep_partial,
                _ => KeepPartial::Never,
            },
            is_exact: has_attributes || self.writing.is_exact,
            ..self.writing.clone()
        };
        let stop = self.state.stages().unwrap_or_else(|| self.stop.child());
        let outcome = self.claim_directory().and_then(|()| {
            let mut body = exchange.body().map_err(|fault| Error::new(Kind::HungUp, fault.to_string()))?;
            let mut transfer = Transfer {
                content,
                announced_bytes,
                writing: &writing,
                idle: self.idle,
                state: &self.state,
                progress: &self.progress,
                stop: &stop,
                streams,
                held: &mut held,
            };
            pipeline::receive(&mut body, &mut transfer)
        });
        let outcome = outcome.map_err(|error| match (error.kind(), stop.reason()) {
            (Kind::Neighbour, Some(StopReason::Cancelled)) => Error::new(Kind::Stalled, REPLACED),
            _ => error,
        });
        if outcome.as_ref().is_err_and(|error| error.kind() == Kind::Leftover) {
            self.is_leftover_useless.store(true, Ordering::Release);
        }
        if writing.keep_partial.keeps(&stop) && outcome.as_ref().is_err_and(leaves_something) {
            busy.held = Some(Held { content, digests: held });
        }
        outcome
    }
}

/// A request and the decision about it.
struct Admitted<'a> {
    admission: Admission,
    /// Whether it comes from the sender.
    is_sender: bool,
    /// For an upload.
    busy: Option<Busy<'a>>,
}

impl Service for UploadService {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let Admitted { admission, is_sender, busy } = self.admit(exchange);
        let upload = match admission {
            Admission::Greet => {
                return exchange.answer(200, TEXT, &self.greeting());
            }
            Admission::Report => {
                let (status, text) = self.report(exchange);
                return exchange.answer(status, TEXT, &text);
            }
            Admission::Answer(status, text) => {
                if status == 503 {
                    // The peer has the right name, and will ask again soon.
                    self.give_way(exchange);
                }
                self.log_refusal(exchange, is_sender, status, text);
                return exchange.answer(status, TEXT, text);
            }
            Admission::Join(stream) => return self.join(exchange, stream),
            Admission::Upload(upload) => upload,
        };
        let Some(mut busy) = busy else { return exchange.answer(503, TEXT, "another transfer is running") };
        log::info!("receiving a {} from {}", upload.content, exchange.peer);
        self.progress.restart();
        let mut streams = upload.stream.map(|lead| busy.open_streams(lead, exchange.stop()));
        let outcome = self.receive(exchange, upload, streams.as_mut(), &mut busy);
        // The state changes before the answer: a sender that has its answer must find the new state.
        busy.end(outcome.is_ok());
        let (status, text) = match &outcome {
            Ok(received) => {
                self.progress.finish_ok();
                let tells_loss = upload.has_attributes && !received.not_kept.is_empty();
                (
                    200,
                    if tells_loss {
                        format!("{NOT_KEPT_PREFIX}{}", received.not_kept)
                    } else {
                        String::new()
                    },
                )
            }
            Err(error) => {
                self.progress.enter(Phase::Failed);
                answer_for(error, upload.stream.is_some())
            }
        };
        if let Some(streams) = streams {
            streams.answer(outcome.is_ok());
        }
        let answered = exchange.answer(status, TEXT, &text);
        // The receiver of outcomes exists until the process ends.
        let _ = self.outcomes.send(outcome);
        answered
    }

    /// The current sender keeps the connection slot while unknown clients wait for one.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        certificates.first().is_some_and(|leaf| common_name(leaf).is_ok_and(|name| name == self.client_name))
    }
}

/// Status and text for a transfer that failed (docs/protocol.md section 2.4, rows 8 and 9).
fn answer_for(error: &Error, has_streams: bool) -> (u16, String) {
    match error.kind() {
        Kind::NoSpace => (
            400,
            format!(
                "Saving stream failed: effective image size is larger than the reported available storage: {error}"
            ),
        ),
        // The source asks again and then finds nothing to resume.
        Kind::Leftover => (503, error.to_string()),
        // One of several connections broke. The source retries, as after a break of a single connection.
        Kind::HungUp | Kind::Stalled if has_streams => (503, error.to_string()),
        _ => (500, format!("Saving stream failed: {error}")),
    }
}

/// Counts requests of clients other than the sender. Only some are logged, at `info`: anyone who can reach the port can
/// send them, so a line for each could fill a disk.
#[derive(Debug, Default)]
struct Refusals(AtomicU64);

impl Refusals {
    /// Counts one more request. Returns the total if it is to be logged: at 1, 10, 100 and so on.
    fn count(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        10_u64.checked_pow(count.ilog10()).filter(|&power| power == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_volume_is_400_with_cdis_text_and_anything_else_500() {
        let (status, text) = answer_for(&Error::new(Kind::NoSpace, "no room"), true);
        assert_eq!(status, 400);
        assert!(text.starts_with("Saving stream failed: effective image size is larger than"), "{text}");
        assert_eq!(answer_for(&Error::damaged("bad CRC"), true).1, "Saving stream failed: bad CRC");
    }

    #[test]
    fn one_of_several_connections_that_broke_is_worth_another_attempt() {
        let broken = Error::new(Kind::HungUp, "stream 2 broke");
        assert_eq!(answer_for(&broken, true), (503, "stream 2 broke".to_owned()));
        assert_eq!(answer_for(&broken, false).0, 500);
    }

    #[test]
    fn a_thousand_requests_are_four_lines() {
        let refusals = Refusals::default();
        let logged: Vec<u64> = (0..5000).filter_map(|_| refusals.count()).collect();
        assert_eq!(logged, [1, 10, 100, 1000]);
    }
}
