//! The errors of a clone: one type, with ranks, so that the cause is reported and not its consequences.

use std::fmt;
use std::io;
use std::path::Path;

use decant_shared::net::tls::TlsConfigError;
use decant_shared::process::printable::write_escaped;
use decant_shared::process::signal;
use decant_shared::process::stop::{Stop, StopReason};
use decant_shared::protocol::cdi::DEVICE_OWNERSHIP_SETTING;
use decant_shared::protocol::exit_code::Exit;

/// The kind of a failure. It determines the exit code, the HTTP status and the rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A wrong argument or environment variable.
    Usage,
    /// The source cannot be read.
    Source,
    /// The source changed while it was read.
    SourceChanged,
    /// The target cannot be written.
    Target,
    /// The target has no space (ENOSPC, EDQUOT, or a size known in advance).
    NoSpace,
    /// Data of a previous attempt no longer matches the source. It was removed, and the next attempt starts from zero.
    Leftover,
    /// The stream is damaged: its framing, a checksum or the tar structure is wrong, or it ended too early.
    Damaged,
    /// The other end cannot be reached.
    Unreachable,
    /// The other end makes no progress.
    Stalled,
    /// The other end answered with this HTTP status.
    Refused(u16),
    /// A problem with certificates, keys or trust.
    Identity,
    /// A signal with this number.
    Signal(i32),
    /// Anything else.
    Failed,
    /// The other end closed the connection. Secondary: the cause is at the other end, or in an answer that was not read
    /// yet.
    HungUp,
    /// A neighbouring thread ended. Secondary: that thread reports the cause.
    Neighbour,
}

/// A failure: its kind, and a message on one line that names the object and what happened.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    text: String,
    cause: Option<io::Error>,
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind`. `text` is one line without a full stop.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), cause: None }
    }

    /// A failure of `kind` whose cause is the operating system's error.
    pub fn io(kind: Kind, text: impl Into<String>, cause: io::Error) -> Self {
        Self { kind, text: text.into(), cause: Some(cause) }
    }

    /// A wrong argument or environment variable.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// Opening a block device for `doing` ("read", "write") was not permitted. In a pod the container runtime sets the
    /// owner of the device, by default root.
    pub fn no_device_permission(kind: Kind, doing: &str, path: &Path, cause: io::Error) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let path = path.display();
        let text = format!(
            "no permission to {doing} the block device {path} as user {user}; in a pod: set \
             {DEVICE_OWNERSHIP_SETTING} = true for the container runtime of the node"
        );
        Self::io(kind, text, cause)
    }

    /// Reading the source failed: `doing` is a verb like "read" or "open".
    pub fn source(doing: &str, path: &Path, cause: io::Error) -> Self {
        Self::io(Kind::Source, format!("cannot {doing} {}", path.display()), cause)
    }

    /// Writing the target failed. "No space left" and quota errors get their own kind (docs/protocol.md section 2.4, row 8).
    pub fn target(doing: &str, path: &Path, cause: io::Error) -> Self {
        let kind = if is_no_space(&cause) { Kind::NoSpace } else { Kind::Target };
        Self::io(kind, format!("cannot {doing} {}", path.display()), cause)
    }

    /// The stream is damaged.
    pub fn damaged(text: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, text)
    }

    /// A neighbouring thread ended; it reports the cause.
    pub fn neighbour(who: &str) -> Self {
        Self::new(Kind::Neighbour, format!("the {who} ended early"))
    }

    /// Fails if `stop` is set.
    pub fn check(stop: &Stop) -> Result<()> {
        match stop.reason() {
            None => Ok(()),
            Some(reason) => Err(Self::stopped(reason)),
        }
    }

    /// The failure for a stop with this reason.
    pub fn stopped(reason: StopReason) -> Self {
        match reason {
            StopReason::Signal(number) => {
                Self::new(Kind::Signal(number), format!("stopped by {}", signal::name(number)))
            }
            StopReason::Cancelled => Self::neighbour("rest of the clone"),
        }
    }

    /// The kind of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Prepends `text` to the message.
    #[must_use]
    pub fn within(mut self, text: &str) -> Self {
        self.text = format!("{text}: {}", self.text);
        self
    }

    /// Appends `text` to the message and the cause.
    #[must_use]
    pub fn followed_by(self, text: &str) -> Self {
        let shown = match &self.cause {
            Some(cause) => format!("{}: {cause}; {text}", self.text),
            None => format!("{}; {text}", self.text),
        };
        Self { kind: self.kind, text: shown, cause: None }
    }

    /// The exit code for this failure.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage => Exit::Usage,
            Kind::Source | Kind::SourceChanged => Exit::Source,
            Kind::Target | Kind::NoSpace | Kind::Leftover => Exit::Target,
            Kind::Damaged => Exit::Damaged,
            Kind::Unreachable | Kind::Stalled | Kind::HungUp => Exit::Unreachable,
            Kind::Refused(_) => Exit::Refused,
            Kind::Identity => Exit::Identity,
            Kind::Signal(SIGHUP) => Exit::HungUp,
            Kind::Signal(SIGINT) => Exit::Interrupted,
            Kind::Signal(_) => Exit::Terminated,
            Kind::Failed | Kind::Neighbour => Exit::Failed,
        }
    }

    /// Selects the cause from several failures of one clone: a signal first, then the first failure of the highest
    /// rank. `HungUp` and `Neighbour` never hide another failure.
    #[must_use]
    pub fn first_cause(first: Error, others: impl IntoIterator<Item = Error>) -> Error {
        others.into_iter().fold(first, |cause, next| if next.rank() < cause.rank() { next } else { cause })
    }

    fn rank(&self) -> u8 {
        match self.kind {
            Kind::Signal(_) => 0,
            Kind::HungUp => 2,
            Kind::Neighbour => 3,
            _ => 1,
        }
    }
}

/// Certificates or keys that cannot be used are `Kind::Identity`.
impl From<TlsConfigError> for Error {
    fn from(unusable: TlsConfigError) -> Self {
        Self::new(Kind::Identity, unusable.0)
    }
}

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;

/// Whether the operating system reports that there is no space: ENOSPC, EDQUOT or EFBIG.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // File names and the text of peers may contain anything, and a message is one line.
        write_escaped(f, &self.text)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secondary_failure_never_hides_the_cause() {
        let others = [
            Error::new(Kind::HungUp, "the target hung up"),
            Error::damaged("bad checksum"),
            Error::new(Kind::Target, "second"),
        ];
        let cause = Error::first_cause(Error::neighbour("reader"), others);
        assert_eq!(cause.to_string(), "bad checksum");
    }

    #[test]
    fn a_full_disk_is_its_own_kind() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::target("write", Path::new("/x"), full).kind(), Kind::NoSpace);
    }

    #[test]
    fn a_message_is_one_line_with_any_file_name() {
        let name = "/x/a\nb\u{1b}[2J\u{9b}\u{202e}";
        let error = Error::source("open", Path::new(name), io::ErrorKind::NotFound.into());
        assert!(error.to_string().starts_with(r"cannot open /x/a\nb\u{1b}[2J\u{9b}\u{202e}: "), "{error}");
    }

    #[test]
    fn a_signal_outranks_everything() {
        let signal = Error::new(Kind::Signal(15), "stopped by SIGTERM");
        assert_eq!(Error::first_cause(Error::damaged("cut"), [signal]).exit(), Exit::Terminated);
    }
}
