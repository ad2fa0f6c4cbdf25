//! What a target reports to a Decant source: its capabilities, its progress and the digests that it holds
//! (docs/protocol.md section 6).

use std::fmt::Write;
use std::sync::atomic::Ordering;

use decant_shared::net::http::server::Exchange;
use decant_shared::protocol::cdi::{CONTENT_TYPE_HEADER, ContentType, FROM_HEADER, LENGTH_HEADER};
use decant_shared::protocol::session::{ATTRIBUTES_LINE, GREETING, STREAMS_LINE, SessionStatus};

use crate::digest::{HELD_LIMIT, SEGMENT_BYTES};
use crate::error::Result;
use crate::receive::server::UploadService;
use crate::receive::transfer_state::{CurrentTransfer, Held, Unavailable};
use crate::volume::destination::Destination;
use crate::writing::held;

/// The maximum number of digests in one answer: 16 KiB of text.
const DIGESTS_AT_ONCE: usize = 256;

impl UploadService {
    /// The capabilities beyond those of CDI's target. A device has no place for attributes.
    pub(super) fn greeting(&self) -> String {
        let attributes = match self.writing.destination {
            Destination::Directory { .. } => format!("{ATTRIBUTES_LINE}\n"),
            Destination::Device(_) => String::new(),
        };
        format!("{GREETING}\nholes\ndigest\nresume\nprogress\n{STREAMS_LINE}\n{attributes}")
    }

    /// The progress; if the request asks for digests, also some of those that the target holds.
    pub(super) fn report(&self, exchange: &Exchange) -> (u16, String) {
        let request = &exchange.request;
        let mut text = SessionStatus::of(&self.progress).to_string();
        let number = |header| request.header(header).and_then(|value| value.parse::<u64>().ok());
        let Some(from) = number(FROM_HEADER) else { return (200, text) };
        let content = request.header(CONTENT_TYPE_HEADER).and_then(|value| value.parse().ok());
        let content = content.unwrap_or(ContentType::Block);
        match self.held_from(from, content, number(LENGTH_HEADER)) {
            Ok(Some(digests)) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "\n{digests}");
                (200, text)
            }
            Ok(None) => {
                // Only a source that is about to send makes this request.
                self.give_way(exchange);
                (503, "another transfer is running".to_owned())
            }
            Err(error) => (500, error.to_string()),
        }
    }

    /// Digests from segment `from` on, one per line: those that this process knows, or else some that it reads back.
    /// `None` if a transfer is running. Reading back may take long; other requests get the progress meanwhile.
    fn held_from(&self, from: u64, content: ContentType, total_bytes: Option<u64>) -> Result<Option<String>> {
        let mut busy = match self.state.begin(CurrentTransfer::default()) {
            Ok(busy) => busy,
            Err(Unavailable::Busy) => return Ok(None),
            Err(Unavailable::Over) => return Ok(Some(String::new())),
        };
        let known = busy.held.take().filter(|held| held.content == content);
        self.claim_directory()?;
        let held = self.with_more(known, from, content, total_bytes)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let digests = held.digests.iter().skip(from).take(DIGESTS_AT_ONCE);
        let lines = digests.map(ToString::to_string).collect::<Vec<_>>().join("\n");
        busy.held = Some(held);
        Ok(Some(lines))
    }

    /// Returns `known` and the digests that the volume holds after that: of an image one segment at a time, of a tree
    /// all of them.
    fn with_more(
        &self,
        known: Option<Held>,
        from: u64,
        content: ContentType,
        total_bytes: Option<u64>,
    ) -> Result<Held> {
        let destination = &self.writing.destination;
        let is_new = known.is_none();
        let mut held = known.unwrap_or(Held { content, digests: Vec::new() });
        if held.digests.len() >= HELD_LIMIT || self.is_leftover_useless.load(Ordering::Acquire) {
            return Ok(held);
        }
        match (content, total_bytes) {
            (ContentType::Block, Some(total_bytes)) if from == held.digests.len() as u64 => {
                let left_bytes = total_bytes.saturating_sub(from.saturating_mul(SEGMENT_BYTES));
                let len = left_bytes.min(SEGMENT_BYTES);
                held.digests.extend(held::segment(destination, from, len, &self.stop)?);
            }
            (ContentType::Filesystem, _) if is_new => {
                held.digests = held::tree(destination, &self.progress, &self.stop)?;
            }
            _ => {}
        }
        Ok(held)
    }
}
