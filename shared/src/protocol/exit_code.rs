//! Exit codes: one number per kind of failure, the same for every command. `Error::exit` in `cloner/src/error.rs` chooses the code
//! of a failure; docs/operations.md lists all of them.

use std::fmt;
use std::process::{ExitCode, Termination};

/// The section about exit codes in the help text of every program.
pub fn help() -> String {
    let lines: Vec<String> = Exit::ALL.iter().map(|exit| format!("  {exit}")).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// How a Decant process ended. The documentation prints the sentence of each variant.
///
/// Kubernetes restarts a container on any code except 0, so the codes are for people and scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// A failure that no other code describes.
    Failed,
    /// An argument or an environment variable is missing or wrong; nothing was started.
    Usage,
    /// The source cannot be read, or it changed while it was read.
    Source,
    /// The target cannot be written, already exists, or is too small.
    Target,
    /// The peer cannot be reached, or it stopped answering.
    Unreachable,
    /// The peer refused the request; the message has its status and its reason.
    Refused,
    /// A certificate or key cannot be used, or one end does not trust the other.
    Identity,
    /// The received data is not an intact clone stream.
    Damaged,
    /// Ended by SIGHUP: the terminal was closed.
    HungUp,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// All variants in the order of their codes.
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

    /// The process's exit code.
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

    /// The meaning of the code in one sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Exit::Done => "Success.",
            Exit::Failed => "A failure that no other code describes.",
            Exit::Usage => "An argument or an environment variable is missing or wrong; nothing was started.",
            Exit::Source => "The source cannot be read, or it changed while it was read.",
            Exit::Target => "The target cannot be written, already exists, or is too small.",
            Exit::Unreachable => "The peer cannot be reached, or it stopped answering.",
            Exit::Refused => "The peer refused the request; the message has its status and its reason.",
            Exit::Identity => "A certificate or key cannot be used, or one end does not trust the other.",
            Exit::Damaged => "The received data is not an intact clone stream.",
            Exit::HungUp => "Ended by SIGHUP: the terminal was closed.",
            Exit::Interrupted => "Ended by SIGINT.",
            Exit::Terminated => "Ended by SIGTERM.",
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
    fn every_exit_has_its_own_code() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
