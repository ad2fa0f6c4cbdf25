//! What a target tells a source of ours: what it knows, how far it is, what it holds (docs/protocol.md, 6).

use std::fmt::Write;
use std::sync::PoisonError;

use decant_shared::contract::{FROM_HEADER, LENGTH_HEADER};
use decant_shared::http::head::Request;
use decant_shared::session::{GREETING, Session};

use super::admit::State;
use super::readback;
use super::server::Uploads;
use crate::digest::SEGMENT_BYTES;
use crate::error::Result;

/// Digests in one answer: 16 KiB of text.
const DIGESTS_AT_ONCE: usize = 256;

/// What it can do, apart from what CDI's can.
pub fn greeting() -> String {
    format!("{GREETING}\nholes\ndigest\nresume\nprogress\n")
}

impl Uploads {
    /// How far it is; with a question for digests, also some of those that it holds.
    pub(super) fn report(&self, request: &Request) -> (u16, String) {
        let mut text = Session::of(&self.progress).to_string();
        let number = |header| request.header(header).and_then(|value| value.parse::<u64>().ok());
        let (Some(from), Some(total_bytes)) = (number(FROM_HEADER), number(LENGTH_HEADER)) else {
            return (200, text);
        };
        match self.held_from(from, total_bytes) {
            Ok(Some(digests)) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "\n{digests}");
                (200, text)
            }
            Ok(None) => (503, "another transfer is running".to_owned()),
            Err(error) => (500, error.to_string()),
        }
    }

    /// Digests from segment `from` on, one a line: those that this process computed, or else one that it reads
    /// back. `None`: a transfer is running.
    fn held_from(&self, from: u64, total_bytes: u64) -> Result<Option<String>> {
        {
            let mut state = self.state();
            match *state {
                State::Idle => *state = State::Busy,
                State::Busy => return Ok(None),
                State::Done | State::Leaving => return Ok(Some(String::new())),
            }
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = Ok(None);
        if from == held.len() as u64 {
            let left_bytes = total_bytes.saturating_sub(from.saturating_mul(SEGMENT_BYTES));
            let len = left_bytes.min(SEGMENT_BYTES);
            read = readback::segment(&self.writing.destination, from, len, &self.stop);
        }
        *self.state() = State::Idle;
        held.extend(read?);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let digests = held.iter().skip(from).take(DIGESTS_AT_ONCE);
        Ok(Some(digests.map(ToString::to_string).collect::<Vec<_>>().join("\n")))
    }
}
