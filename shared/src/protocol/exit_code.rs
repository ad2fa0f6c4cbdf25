//! Exit codes: one number per kind of failure, the same for every role.

use std::fmt;
use std::process::{ExitCode, Termination};

/// What the help page of every program says about its exit codes.
pub fn help() -> String {
    let lines: Vec<String> = Exit::ALL.iter().map(|exit| format!("  {exit}")).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// How a Decant process ended. The sentence of each variant is what the documentation prints.
///
/// Kubernetes restarts a container on any code but 0, so the codes are for people and scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for was done.
    Done,
    /// Something failed that no other code describes.
    Failed,
    /// An argument or an environment variable is missing or wrong; nothing was started.
    Usage,
    /// The source cannot be read, or changed while it was read.
    Source,
    /// The target cannot be written, exists already, or is too small.
    Target,
    /// The other end cannot be reached, or stopped answering.
    Unreachable,
    /// The other end answered and refused; its status and its words are in the message.
    Refused,
    /// A certificate or key is unusable, or one end does not trust the other.
    Identity,
    /// What arrived is not an intact clone stream.
    Damaged,
    /// SIGHUP ended it: its terminal was closed.
    HungUp,
    /// SIGINT ended it.
    Interrupted,
    /// SIGTERM ended it.
    Terminated,
}

impl Exit {
    /// All codes in the order of their numbers.
    pub const ALL: [Exit; 12] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Source,
        Exit::Target,
        Exit::Unreachable,
        Exit::Refused,
        Exit::Identity,
        Exit::Damaged,
        Exit::HungUp,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Source => 3,
            Exit::Target => 4,
            Exit::Unreachable => 5,
            Exit::Refused => 6,
            Exit::Identity => 7,
            Exit::Damaged => 8,
            Exit::HungUp => 129,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    /// One sentence that says what the code means.
    pub fn sentence(self) -> &'static str {
        match self {
            Exit::Done => "Everything that was asked for was done.",
            Exit::Failed => "Something failed that no other code describes.",
            Exit::Usage => "An argument or an environment variable is missing or wrong; nothing was started.",
            Exit::Source => "The source cannot be read, or changed while it was read.",
            Exit::Target => "The target cannot be written, exists already, or is too small.",
            Exit::Unreachable => "The other end cannot be reached, or stopped answering.",
            Exit::Refused => {
                "The other end answered and refused; its status and its words are in the message."
            }
            Exit::Identity => "A certificate or key is unusable, or one end does not trust the other.",
            Exit::Damaged => "What arrived is not an intact clone stream.",
            Exit::HungUp => "SIGHUP ended it: its terminal was closed.",
            Exit::Interrupted => "SIGINT ended it.",
            Exit::Terminated => "SIGTERM ended it.",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.sentence())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_exits_share_a_number() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
