//! How a command of `kubectl decant` ended: exit codes, and errors worded like those of `kubectl`.

use std::fmt;
use std::process::{ExitCode, Termination};

use decant_controller::api::cluster::ApiError;

/// How a command ended. The documentation repeats the sentence of each variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Success.
    Done,
    /// A failure that no other code describes, or a failed check of the doctor.
    Failed,
    /// A wrong command line or kubeconfig; nothing was done.
    Usage,
    /// A named object does not exist, or was deleted.
    Missing,
    /// The clone failed, or needs help.
    Clone,
    /// No answer from the API server.
    Unreachable,
    /// The API server refused the request.
    Refused,
    /// The time limit passed before the clone ended.
    TimedOut,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
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

    /// The meaning of the code in one sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Ending::Done => "The command succeeded.",
            Ending::Failed => {
                "The command failed in a way that no other code describes, or a check of the doctor failed."
            }
            Ending::Usage => "The command line or the kubeconfig is wrong; nothing was changed.",
            Ending::Missing => "A named object does not exist, or was deleted.",
            Ending::Clone => "The clone failed, or cannot continue without help.",
            Ending::Unreachable => "The API server cannot be reached, or did not answer in time.",
            Ending::Refused => "The API server refused the request.",
            Ending::TimedOut => "The time limit passed before the clone ended.",
            Ending::Interrupted => "SIGINT ended the command.",
            Ending::Terminated => "SIGTERM ended the command.",
        }
    }

    /// The list of all codes for the help page.
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

/// Why a command failed: the exit code, and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    message: String,
    /// The start of the message; unknown where the error is created.
    server: Option<String>,
}

impl Failure {
    pub(super) fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self { ending, message: message.into(), server: None }
    }

    /// Adds the address of the API server to the message, if the server did not answer.
    pub(super) fn at(self, server: &str) -> Self {
        Self { server: self.server.map(|_| server.to_owned()), ..self }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Ending::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(
                f,
                "{} cannot be reached: {}",
                format!("The API server {server}").trim_end(),
                self.message
            ),
            None => f.write_str(&self.message),
        }
    }
}

impl From<ApiError> for Failure {
    /// `Error from server (NotFound): …`, as `kubectl` prints it, with a hint where one is known.
    fn from(error: ApiError) -> Self {
        let (code, reason, message) = (error.code, error.reason.as_str(), error.message.as_str());
        if code == 0 {
            let hint = if message.contains("refused") || message.contains("onnect") || reason == "Timeout" {
                "\nCheck that it is running and that the kubeconfig has its address: `kubectl config view --minify` shows it."
            } else {
                ""
            };
            let failure = Self::new(Ending::Unreachable, format!("{message}{hint}"));
            return Self { server: Some(String::new()), ..failure };
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
            401 => "You must be logged in to the server (Unauthorized): it does not accept the credentials in the kubeconfig"
                .to_owned(),
            _ if reason.is_empty() => format!("Error from server ({code}): {message}"),
            _ => format!("Error from server ({reason}): {message}"),
        };
        Self::new(ending, text)
    }
}

const NO_DEFINITIONS: &str = "the server doesn't have a resource type \"datavolumes\": Decant is not installed; \
                              `kubectl apply -k controller/deploy` installs it";

/// Whether the server does not know the kind, rather than the object.
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
    fn exit_codes_are_unique() {
        let codes: std::collections::BTreeSet<u8> = Ending::ALL.iter().map(|ending| ending.code()).collect();
        assert_eq!(codes.len(), Ending::ALL.len());
    }

    #[test]
    fn errors_of_the_server_look_like_those_of_kubectl() {
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
        let unreachable = failure(0, "NoAnswer", "tcp connect error: Connection refused");
        assert_eq!(unreachable.ending, Ending::Unreachable);
        let text = unreachable.to_string();
        assert!(
            text.starts_with("The API server cannot be reached: tcp") && text.contains("is running"),
            "{text}"
        );
        let named = unreachable.at("https://lab:6443/").to_string();
        assert!(named.starts_with("The API server https://lab:6443/ cannot be reached: tcp"), "{named}");
        assert!(failure(401, "Unauthorized", "Unauthorized").message.contains("must be logged in"));
    }
}
