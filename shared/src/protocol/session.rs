//! What a target says about its session: `GET /v1/session` (docs/protocol.md, 6).

use std::fmt;

use crate::protocol::progress::{Phase, Progress};

/// The first line of a target's answer to `OPTIONS`.
pub const GREETING: &str = "decant 1";

/// The line of that answer for a target that reads attributes from extended headers.
pub const ATTRIBUTES_WORD: &str = "attributes";

/// The line of that answer for a target that takes a clone over several connections.
pub const STREAMS_WORD: &str = "streams";

/// What stands before what a target could not keep, in its answer to an upload.
pub const NOT_KEPT: &str = "not kept: ";

/// How far a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// What it is doing: starting (nothing), copy, sync, verify, done or failed.
    pub phase: Phase,
    /// Bytes of the stream that survive a loss of power.
    pub durable_bytes: u64,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase {}\ndurable-bytes {}", self.phase, self.durable_bytes)
    }
}

impl Session {
    /// What the counters of a target say.
    pub fn of(progress: &Progress) -> Self {
        Self { phase: progress.phase(), durable_bytes: progress.durable_bytes().unwrap_or(0) }
    }

    /// Reads what a target wrote; lines that are not known are skipped.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let phase = value("phase")?;
        let phase = Phase::ALL.into_iter().find(|known| known.name() == phase)?;
        Some(Self { phase, durable_bytes: value("durable-bytes")?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_session_is_read_as_it_is_written() {
        for phase in Phase::ALL {
            let session = Session { phase, durable_bytes: 77 };
            assert_eq!(Session::parse(&session.to_string()), Some(session));
        }
        let later = "phase copy\nmood good\ndurable-bytes 5\n\n00ff";
        assert_eq!(Session::parse(later), Some(Session { phase: Phase::Copy, durable_bytes: 5 }));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = Session::parse(&text);
        }
    }
}
