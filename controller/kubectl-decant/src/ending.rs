//! How a command of `kubectl decant` ended: exit codes, and errors in the words of `kubectl`.

use std::fmt;
use std::process::{ExitCode, Termination};

use decant_controller::api::cluster::ApiError;

/// How a command ended. The sentence of each variant is what the documentation prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was asked for was done.
    Done,
    /// Something failed that no other code describes; the doctor found something wrong.
    Failed,
    /// The command line or the kubeconfig is wrong; nothing was done.
    Usage,
    /// An object that was named is not there, or went away.
    Missing,
    /// The clone failed, or cannot go on before somebody does something about it.
    Clone,
    /// The API server cannot be reached, or does not answer in time.
    Unreachable,
    /// The API server refused.
    Refused,
    /// The time was up, and the clone was not at its end.
    TimedOut,
    /// SIGINT ended it.
    Interrupted,
    /// SIGTERM ended it.
    Terminated,
}

impl Ending {
    /// All codes in the order of their numbers.
    pub const ALL: [Ending; 10] = [
        Ending::Done,
        Ending::Failed,
        Ending::Usage,
        Ending::Missing,
        Ending::Clone,
        Ending::Unreachable,
        Ending::Refused,
        Ending::TimedOut,
        Ending::Interrupted,
        Ending::Terminated,
    ];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::Missing => 3,
            Ending::Clone => 4,
            Ending::Unreachable => 5,
            Ending::Refused => 6,
            Ending::TimedOut => 7,
            Ending::Interrupted => 130,
            Ending::Terminated => 143,
        }
    }

    /// One sentence that says what the code means.
    pub fn sentence(self) -> &'static str {
        match self {
            Ending::Done => "Everything that was asked for was done.",
            Ending::Failed => {
                "Something failed that no other code describes; the doctor found something wrong."
            }
            Ending::Usage => "The command line or the kubeconfig is wrong; nothing was done.",
            Ending::Missing => "An object that was named is not there, or went away.",
            Ending::Clone => "The clone failed, or cannot go on before somebody does something about it.",
            Ending::Unreachable => "The API server cannot be reached, or does not answer in time.",
            Ending::Refused => "The API server refused.",
            Ending::TimedOut => "The time was up, and the clone was not at its end.",
            Ending::Interrupted => "SIGINT ended it.",
            Ending::Terminated => "SIGTERM ended it.",
        }
    }

    /// What the help page says about all of them.
    pub fn help() -> String {
        let lines: Vec<String> =
            Self::ALL.iter().map(|ending| format!("  {}: {}", ending.code(), ending.sentence())).collect();
        format!("Exit codes:\n{}", lines.join("\n"))
    }
}

impl Termination for Ending {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// How a message about a server that does not answer begins.
const NOBODY: &str = "The API server";

/// Why a command ended badly: the code, and what is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self { ending, message: message.into() }
    }

    /// The same with the address of the server that did not answer.
    pub(super) fn at(mut self, server: &str) -> Self {
        if let Some(rest) = self.message.strip_prefix(NOBODY) {
            self.message = format!("{NOBODY} {server}{rest}");
        }
        self
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Ending::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ApiError> for Failure {
    /// `Error from server (NotFound): …`, as `kubectl` has it, and what to do where that is known.
    fn from(error: ApiError) -> Self {
        let (code, reason, message) = (error.code, error.reason.as_str(), error.message.as_str());
        if code == 0 {
            let hint = if message.contains("refused") || message.contains("onnect") || reason == "Timeout" {
                "\nIs it running, and does the kubeconfig have the right address? `kubectl config view --minify` shows it."
            } else {
                ""
            };
            let text = format!("{NOBODY} cannot be reached: {message}{hint}");
            return Self::new(Ending::Unreachable, text);
        }
        if lacks_kind(&error) {
            return Self::new(Ending::Missing, NO_DEFINITIONS);
        }
        let ending = match code {
            404 => Ending::Missing,
            500..=599 | 429 => Ending::Unreachable,
            _ => Ending::Refused,
        };
        let text = match code {
            401 => "You must be logged in to the server (Unauthorized): the credentials in the kubeconfig are not \
                    accepted"
                .to_owned(),
            _ if reason.is_empty() => format!("Error from server ({code}): {message}"),
            _ => format!("Error from server ({reason}): {message}"),
        };
        Self::new(ending, text)
    }
}

const NO_DEFINITIONS: &str = "the server doesn't have a resource type \"datavolumes\": Decant is not installed there; \
                              `kubectl apply -k controller/deploy` installs it";

/// Whether the answer says that the server knows no such kind, rather than no such object.
pub(super) fn lacks_kind(error: &ApiError) -> bool {
    error.code == 404
        && (error.reason.is_empty() || error.message.contains("could not find the requested resource"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16, reason: &str, message: &str) -> Failure {
        ApiError { code, reason: reason.to_owned(), message: message.to_owned() }.into()
    }

    #[test]
    fn no_two_endings_share_a_number() {
        let codes: std::collections::BTreeSet<u8> = Ending::ALL.iter().map(|ending| ending.code()).collect();
        assert_eq!(codes.len(), Ending::ALL.len());
    }

    #[test]
    fn the_servers_words_come_as_kubectl_shows_them() {
        let missing = failure(404, "NotFound", "persistentvolumeclaims \"x\" not found");
        assert_eq!(missing.message, "Error from server (NotFound): persistentvolumeclaims \"x\" not found");
        assert_eq!(missing.ending, Ending::Missing);
        assert_eq!(failure(403, "Forbidden", "no").ending, Ending::Refused);
        assert_eq!(failure(409, "AlreadyExists", "there").ending, Ending::Refused);
        assert_eq!(failure(503, "", "later").ending, Ending::Unreachable);
    }

    #[test]
    fn a_server_without_our_kinds_is_reported_as_not_installed() {
        for (reason, message) in
            [("", "404 page not found"), ("NotFound", "the server could not find the requested resource")]
        {
            assert!(failure(404, reason, message).message.contains("not installed"), "{message}");
        }
    }

    #[test]
    fn an_absent_server_and_bad_credentials_have_their_own_messages() {
        let nobody = failure(0, "NoAnswer", "tcp connect error: Connection refused");
        assert_eq!(nobody.ending, Ending::Unreachable);
        assert!(nobody.message.contains("Is it running"), "{nobody}");
        let named = nobody.at("https://lab:6443/");
        assert!(named.message.starts_with("The API server https://lab:6443/ cannot be reached"), "{named}");
        assert!(failure(401, "Unauthorized", "Unauthorized").message.contains("must be logged in"));
    }
}
