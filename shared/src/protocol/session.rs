//! What a target reports about its session: `GET /v1/session` (docs/protocol.md section 6).

use std::fmt;

use crate::protocol::progress::{Phase, Progress};

/// The first line of a target's answer to `OPTIONS`.
pub const GREETING: &str = "decant 1";

/// The line in that answer of a target that reads attributes from extended headers.
pub const ATTRIBUTES_LINE: &str = "attributes";

/// The line in that answer of a target that accepts a clone over several connections.
pub const STREAMS_LINE: &str = "streams";

/// The prefix of the list of attributes that a target could not keep, in its answer to an upload.
pub const NOT_KEPT_PREFIX: &str = "not kept: ";

/// The progress of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its phase: starting (no transfer yet), copy, sync, verify, done or failed.
    pub phase: Phase,
    /// Bytes of the stream that would survive a power loss.
    pub durable_bytes: u64,
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase {}\ndurable-bytes {}", self.phase, self.durable_bytes)
    }
}

impl SessionStatus {
    /// The state of a target's counters.
    pub fn of(progress: &Progress) -> Self {
        Self { phase: progress.phase(), durable_bytes: progress.durable_bytes().unwrap_or(0) }
    }

    /// Parses a target's report; unknown lines are skipped. `None` if a line is missing or malformed.
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
    fn a_status_survives_display_and_parse() {
        for phase in Phase::ALL {
            let status = SessionStatus { phase, durable_bytes: 77 };
            assert_eq!(SessionStatus::parse(&status.to_string()), Some(status));
        }
        let of_a_later_version = "phase copy\nmood good\ndurable-bytes 5\n\n00ff";
        assert_eq!(
            SessionStatus::parse(of_a_later_version),
            Some(SessionStatus { phase: Phase::Copy, durable_bytes: 5 })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = SessionStatus::parse(&text);
        }
    }
}
