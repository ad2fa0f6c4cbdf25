//! The upload server: admits one sender at a time, answers, and knows when the work is done.

use std::sync::atomic::Ordering;

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Service};
use decant_shared::net::tls::common_name::common_name;
use decant_shared::process::printable::Escaped;
use decant_shared::process::stop::StopReason;
use decant_shared::protocol::progress::Phase;
use decant_shared::protocol::session::NOT_KEPT_PREFIX;
use decant_shared::protocol::stream_id::StreamId;
use rustls::pki_types::CertificateDer;

use crate::error::{Error, Kind, Result};
use crate::receive::admission::{Admission, AdmittedUpload, PeerIdentity, State, admit};
use crate::receive::body::{ReceiveContext, receive_stream};
use crate::receive::pipeline::{self, Transfer};
use crate::receive::running::OUSTED;
use crate::receive::streams::Streams;
use crate::receive::uploads::{Held, UploadService};
use crate::receive::{Received, Writing, session_report};
use crate::volume::tree::write::leaves_something;

/// Answers are read by people and by CDI's cloner, which ignores them.
const TEXT: &str = "text/plain; charset=utf-8";

impl UploadService {
    /// Admits a request and, for an upload, takes the place of the one sender. Says also whether it is of the sender.
    fn admit(&self, exchange: &Exchange) -> (Admission, bool) {
        let leaf = exchange.peer_certificates().first();
        let name = leaf.map(|leaf| common_name(leaf).ok());
        let peer = match (&name, exchange.is_encrypted()) {
            (Some(name), _) => PeerIdentity::Named(name.as_deref()),
            (None, true) => PeerIdentity::Anonymous,
            (None, false) => PeerIdentity::Plain,
        };
        let is_sender = peer == PeerIdentity::Named(Some(&self.client_name));
        let mut state = self.state();
        let admission = admit(&exchange.request, peer, &self.client_name, *state);
        match admission {
            Admission::Upload(_) => {
                *state = State::Busy;
                self.running.begin(exchange.stop(), self.stop.child());
            }
            // Whoever is told 503 had the right name, and asks again soon.
            Admission::Answer(503, _) => self.give_way(exchange),
            Admission::Answer(..) | Admission::Greet | Admission::Report | Admission::Join(_) => {}
        }
        (admission, is_sender)
    }

    /// Tells of a request that was refused: of the sender's each, of others' only some.
    fn tell_refusal(&self, exchange: &Exchange, is_sender: bool, status: u16, text: &str) {
        let request = &exchange.request;
        if request.path == "/healthz" {
            return;
        }
        let (method, path) = (Escaped::of_peer(&request.method), Escaped::of_peer(&request.path));
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

    /// Receives a part of the clone that another connection leads, and answers when that has an outcome.
    fn join(&self, exchange: &mut Exchange, stream: StreamId) -> Result<(), ConnError> {
        let Some(slot) = self.multi_connection.join(stream) else {
            return exchange.answer(503, TEXT, "no clone waits for this connection");
        };
        log::debug!("stream {} of {} from {}", stream.index, stream.count, exchange.peer);
        let mut body = exchange.body()?;
        let (running, progress) = (&self.running, &*self.progress);
        let context = ReceiveContext { idle: self.idle, running, progress, stop: &self.stop };
        if !receive_stream(&mut body, context, &slot) {
            pipeline::discard(&mut body, &|| slot.has_answer());
        }
        let (status, text) = slot.wait_for_answer();
        exchange.answer(status, TEXT, &text)
    }

    /// Receives what was admitted. What is left of it for the next attempt is remembered.
    fn receive(
        &self,
        exchange: &mut Exchange,
        upload: AdmittedUpload,
        streams: Option<&mut Streams>,
    ) -> Result<Received> {
        let AdmittedUpload { content, announced_bytes, resume, has_attributes, .. } = upload;
        let held = self.held().take().filter(|held| held.content == content);
        let mut held = held.map_or(Vec::new(), |held| held.digests);
        held.truncate(resume.unwrap_or(0));
        let keep_partial = self.writing.can_go_on(content) && resume.is_some();
        let stop = self.running.stages().unwrap_or_else(|| self.stop.child());
        let is_exact = has_attributes || self.writing.is_exact;
        let writing = Writing { keep_partial, is_exact, ..self.writing.clone() };
        let outcome = match (self.claim_directory(), exchange.body()) {
            (Err(error), _) => Err(error),
            (Ok(()), Ok(mut body)) => {
                let mut transfer = Transfer {
                    content,
                    announced_bytes,
                    writing: &writing,
                    idle: self.idle,
                    running: &self.running,
                    progress: &self.progress,
                    stop: &stop,
                    streams: streams.map(|streams| (streams, &self.multi_connection)),
                    held: &mut held,
                };
                pipeline::receive(&mut body, &mut transfer)
            }
            (Ok(()), Err(fault)) => Err(Error::new(Kind::HungUp, fault.to_string())),
        };
        let outcome = outcome.map_err(|error| match (error.kind(), stop.reason()) {
            (Kind::Neighbour, Some(StopReason::Cancelled)) => Error::new(Kind::Stalled, OUSTED),
            _ => error,
        });
        self.running.end();
        self.multi_connection.close();
        if outcome.as_ref().is_err_and(|error| error.kind() == Kind::Leftover) {
            self.is_leftover_useless.store(true, Ordering::Release);
        }
        if writing.keep_partial && outcome.as_ref().is_err_and(leaves_something) {
            *self.held() = Some(Held { content, digests: held });
        }
        outcome
    }
}

impl Service for UploadService {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let (admission, is_sender) = self.admit(exchange);
        let upload = match admission {
            Admission::Greet => {
                return exchange.answer(200, TEXT, &session_report::greeting(&self.writing.destination));
            }
            Admission::Report => {
                let (status, text) = self.report(exchange);
                return exchange.answer(status, TEXT, &text);
            }
            Admission::Answer(status, text) => {
                self.tell_refusal(exchange, is_sender, status, text);
                return exchange.answer(status, TEXT, text);
            }
            Admission::Join(stream) => return self.join(exchange, stream),
            Admission::Upload(upload) => upload,
        };
        log::info!("receiving a {} from {}", upload.content, exchange.peer);
        self.progress.restart();
        let mut streams = upload.stream.map(|lead| self.multi_connection.open(lead, exchange.stop()));
        let outcome = self.receive(exchange, upload, streams.as_mut());
        // The state changes before the answer: a sender that was told "done" or "failed" finds it so.
        *self.state() = if outcome.is_ok() { State::Done } else { State::Idle };
        let (status, text) = match &outcome {
            Ok(received) => {
                self.progress.finish_ok();
                let is_told = upload.has_attributes && !received.not_kept.is_empty();
                (200, if is_told { format!("{NOT_KEPT_PREFIX}{}", received.not_kept) } else { String::new() })
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
        // Nobody listens any more only when the process is ending.
        let _ = self.outcomes.send(outcome);
        answered
    }

    /// The one sender keeps its place while strangers ask for theirs.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        certificates.first().is_some_and(|leaf| common_name(leaf).is_ok_and(|name| name == self.client_name))
    }
}

/// Status and text for a transfer that failed (contract 2.4, rows 8 and 9).
fn answer_for(error: &Error, is_several: bool) -> (u16, String) {
    match error.kind() {
        Kind::NoSpace => (
            400,
            format!(
                "Saving stream failed: effective image size is larger than the reported available storage: {error}"
            ),
        ),
        // The source that hears this asks again, and finds nothing to go on from.
        Kind::Leftover => (503, error.to_string()),
        // One of several connections broke: the source that hears it on this one tries again, as if this one had broken.
        Kind::HungUp | Kind::Stalled if is_several => (503, error.to_string()),
        _ => (500, format!("Saving stream failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_volume_is_400_in_cdis_words_and_anything_else_500() {
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
}
