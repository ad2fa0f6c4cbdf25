//! What pods left behind when they ended (contract 1.6, 2.8).

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::annotations::TARGET_CONTAINER;
use crate::resource::Pod;
use crate::resource::pod::{ContainerStatus, Terminated};

/// What a target pod that succeeded says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetWord {
    /// No source came in time; nothing was cloned.
    DeadlinePassed,
    /// The clone is complete.
    Done {
        /// Whether space was preallocated.
        preallocated: bool,
        /// The digest of the content, if source and target agree on one. CDI's target says none.
        digest: Option<String>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    deadline_passed: bool,
    preallocation_applied: bool,
    digest: Option<String>,
    digest_confirmed: bool,
}

/// The word of a target pod in phase Succeeded. A message that cannot be read is not an error: the exit code says
/// that the clone is complete (contract 8, #43).
pub fn target_word(pod: &Pod) -> TargetWord {
    let text = pod.container_status(TARGET_CONTAINER).and_then(|status| status.state.terminated.as_ref());
    let message = text.map(|ended| parse(&ended.message)).unwrap_or_default();
    if message.deadline_passed {
        TargetWord::DeadlinePassed
    } else {
        let digest = message.digest.filter(|digest| message.digest_confirmed && is_digest(digest));
        TargetWord::Done { preallocated: message.preallocation_applied, digest }
    }
}

fn parse(text: &str) -> Message {
    serde_json::from_str(text).unwrap_or_else(|_| Message {
        preallocation_applied: text.contains("Preallocation applied"),
        ..Message::default()
    })
}

/// Only what looks like one is written on: the target pod belongs to the namespace's users.
fn is_digest(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
    text.starts_with("decant1:") && text.len() <= 100 && text.bytes().all(is_plain)
}

/// Whether a source's message says that space was preallocated.
pub fn source_preallocated(pod: &Pod, container: &str) -> bool {
    let ended = pod.container_status(container).and_then(|status| status.state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0 && ended.message.contains("Preallocation applied"))
}

/// How a container ended last, whether or not it was started again.
pub fn last_end(status: &ContainerStatus) -> Option<&Terminated> {
    status.state.terminated.as_ref().or(status.last_state.terminated.as_ref())
}

/// When the pod's last container ended.
pub fn ended_at(pod: &Pod) -> Option<OffsetDateTime> {
    let times = pod.status.container_statuses.iter().filter_map(|status| {
        let ended = status.state.terminated.as_ref()?;
        OffsetDateTime::parse(&ended.finished_at, &Rfc3339).ok()
    });
    times.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(message: &str) -> Pod {
        serde_json::from_value(json!({ "status": { "phase": "Succeeded", "containerStatuses": [
            { "name": "mesh", "state": { "terminated": { "message": "{\"deadlinePassed\":true}" } } },
            { "name": TARGET_CONTAINER, "state": { "terminated": {
                "exitCode": 0, "message": message, "finishedAt": "2026-01-01T00:00:05Z" } } },
        ] } }))
        .unwrap()
    }

    #[test]
    fn only_the_targets_own_container_is_heard() {
        assert_eq!(target_word(&target("{}")), TargetWord::Done { preallocated: false, digest: None });
        let deadline = target(r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#);
        assert_eq!(target_word(&deadline), TargetWord::DeadlinePassed);
    }

    #[test]
    fn an_unreadable_message_of_a_good_end_is_a_good_end() {
        for text in ["", "garbage", "{", "[1]"] {
            assert_eq!(
                target_word(&target(text)),
                TargetWord::Done { preallocated: false, digest: None },
                "{text}"
            );
        }
        let confirmed = |digest: &str, said: bool| {
            let text =
                format!(r#"{{"message":"Clone Complete","digest":"{digest}","digestConfirmed":{said}}}"#);
            match target_word(&target(&text)) {
                TargetWord::Done { digest, .. } => digest,
                TargetWord::DeadlinePassed => None,
            }
        };
        assert_eq!(confirmed("decant1:7:ab", true).as_deref(), Some("decant1:7:ab"));
        assert_eq!(confirmed("decant1:7:ab", false), None);
        assert_eq!(confirmed("decant1:7:ab cd", true), None);
        let old = target("Clone Complete, Preallocation applied");
        assert_eq!(target_word(&old), TargetWord::Done { preallocated: true, digest: None });
    }

    #[test]
    fn the_last_end_counts() {
        assert_eq!(ended_at(&target("")).unwrap().second(), 5);
    }
}
