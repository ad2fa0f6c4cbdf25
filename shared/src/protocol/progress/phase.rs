//! The phases of a clone.

use std::fmt;

/// What a clone is doing. The variants are in the order in which a clone passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading arguments and keys.
    Starting,
    /// Scanning the source to determine what to send.
    Scan,
    /// Connecting to the target.
    Connect,
    /// Sending content.
    Copy,
    /// All content was sent; the target writes it to disk.
    Sync,
    /// The target reads back what it wrote.
    Verify,
    /// The target confirmed the clone.
    Done,
    /// The clone ended without a confirmation.
    Failed,
}

impl Phase {
    /// All phases in their order.
    pub const ALL: [Phase; 8] = [
        Phase::Starting,
        Phase::Scan,
        Phase::Connect,
        Phase::Copy,
        Phase::Sync,
        Phase::Verify,
        Phase::Done,
        Phase::Failed,
    ];

    /// The lower-case name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Scan => "scan",
            Phase::Connect => "connect",
            Phase::Copy => "copy",
            Phase::Sync => "sync",
            Phase::Verify => "verify",
            Phase::Done => "done",
            Phase::Failed => "failed",
        }
    }

    /// The index in [`Phase::ALL`], for an atomic.
    pub(super) fn number(self) -> u8 {
        match self {
            Phase::Starting => 0,
            Phase::Scan => 1,
            Phase::Connect => 2,
            Phase::Copy => 3,
            Phase::Sync => 4,
            Phase::Verify => 5,
            Phase::Done => 6,
            Phase::Failed => 7,
        }
    }

    /// The phase with this index. Only valid indexes are ever stored.
    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Phase::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_survives_conversion_to_its_number() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase.number()), phase);
        }
    }
}
