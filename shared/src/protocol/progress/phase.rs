//! The phases of a clone.

use std::fmt;

/// What a clone is doing. The order is that in which a clone goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reads its arguments and keys.
    Starting,
    /// Looks at the source to learn what there is to send.
    Scan,
    /// Opens the connection to the other end.
    Connect,
    /// Sends content.
    Copy,
    /// Everything is sent; the other end writes it to disk.
    Sync,
    /// The other end reads back what it wrote.
    Verify,
    /// The other end confirmed it.
    Done,
    /// It ended without that.
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

    /// The phase as one lower-case word, as metrics and messages name it.
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

    /// The place in [`Phase::ALL`], for an atomic.
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

    /// The phase of this number. Only numbers of phases are ever stored.
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
    fn a_number_leads_back_to_its_phase() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase.number()), phase);
        }
    }
}
