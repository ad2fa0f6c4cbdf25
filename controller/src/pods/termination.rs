//! The termination messages and exit codes of pods (docs/protocol.md sections 1.6, 2.8).

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::Pod;
use crate::objects::annotations::TARGET_CONTAINER;
use crate::objects::pod::{ContainerStatus, Terminated};

/// The message of a target pod that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetMessage {
    /// No source came in time; nothing was cloned.
    DeadlinePassed,
    /// The clone is complete.
    Done {
        /// Whether space was preallocated.
        preallocated: bool,
        /// The digest of the content, if source and target agree on one. CDI's target reports none.
        digest: Option<String>,
        /// The kinds of attributes that it could not keep, with counts: `owners 3, xattrs 1`.
        not_kept: Option<String>,
    },
}

/// The kinds of attributes that Decant's target counts.
const KINDS: [&str; 6] = ["owners", "modes", "times", "xattrs", "acls", "capabilities"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    deadline_passed: bool,
    preallocation_applied: bool,
    digest: Option<String>,
    digest_confirmed: bool,
    not_kept: Value,
}

/// The message of a target pod whose container succeeded. A message that cannot be parsed is not an error: the exit
/// code shows that the clone is complete (docs/migrate-from-cdi.md row 43).
pub fn target_message(pod: &Pod) -> TargetMessage {
    let text = pod.container_status(TARGET_CONTAINER).and_then(|status| status.state.terminated.as_ref());
    let message = text.map(|ended| parse(&ended.message)).unwrap_or_default();
    if message.deadline_passed {
        TargetMessage::DeadlinePassed
    } else {
        let digest = message.digest.filter(|digest| message.digest_confirmed && is_digest(digest));
        let not_kept = not_kept(&message.not_kept);
        TargetMessage::Done { preallocated: message.preallocation_applied, digest, not_kept }
    }
}

/// The known kinds with their counts. Everything else is dropped, because users of the namespace control the target
/// pod. The first entry of each kind is in the pod's message and log.
fn not_kept(reported: &Value) -> Option<String> {
    let counts = KINDS.iter().filter_map(|kind| {
        let entries = reported.get(kind)?.get("entries")?.as_u64().filter(|&entries| entries > 0)?;
        Some(format!("{kind} {entries}"))
    });
    Some(counts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

fn parse(text: &str) -> Message {
    serde_json::from_str(text).unwrap_or_else(|_| Message {
        preallocation_applied: text.contains("Preallocation applied"),
        ..Message::default()
    })
}

/// Whether `text` has the form of a digest. No other text is used, because users of the namespace control the target
/// pod.
fn is_digest(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
    text.starts_with("decant1:") && text.len() <= 100 && text.bytes().all(is_plain)
}

/// Whether a source reports that space was preallocated.
pub fn source_preallocated(pod: &Pod, container: &str) -> bool {
    let ended = pod.container_status(container).and_then(|status| status.state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0 && ended.message.contains("Preallocation applied"))
}

/// How a container last ended, whether or not it was restarted.
pub fn last_end(status: &ContainerStatus) -> Option<&Terminated> {
    status.state.terminated.as_ref().or(status.last_state.terminated.as_ref())
}

/// When the container `name` of the pod ended.
pub fn container_ended_at(pod: &Pod, name: &str) -> Option<OffsetDateTime> {
    let ended = pod.container_status(name)?.state.terminated.as_ref()?;
    OffsetDateTime::parse(&ended.finished_at, &Rfc3339).ok()
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

    fn done(preallocated: bool) -> TargetMessage {
        TargetMessage::Done { preallocated, digest: None, not_kept: None }
    }

    #[test]
    fn only_the_targets_own_container_is_heard() {
        assert_eq!(target_message(&target("{}")), done(false));
        let deadline = target(r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#);
        assert_eq!(target_message(&deadline), TargetMessage::DeadlinePassed);
    }

    #[test]
    fn what_was_not_kept_is_told_by_known_kinds_and_numbers_alone() {
        let lost = |text: &str| match target_message(&target(text)) {
            TargetMessage::Done { not_kept, .. } => not_kept,
            TargetMessage::DeadlinePassed => None,
        };
        let text = r#"{"notKept":{"xattrs":{"entries":1,"first":"<b>"},"owners":{"entries":3,"first":"a"},
            "moods":{"entries":1},"acls":{"entries":"many"},"times":{"entries":0}}}"#;
        assert_eq!(lost(text).as_deref(), Some("owners 3, xattrs 1"));
        for nothing in ["{}", r#"{"notKept":7}"#, r#"{"notKept":{"owners":2}}"#] {
            assert_eq!(lost(nothing), None);
        }
    }

    #[test]
    fn an_unreadable_message_of_a_good_end_is_a_good_end() {
        for text in ["", "garbage", "{", "[1]"] {
            assert_eq!(target_message(&target(text)), done(false), "{text}");
        }
        let confirmed = |digest: &str, said: bool| {
            let text =
                format!(r#"{{"message":"Clone Complete","digest":"{digest}","digestConfirmed":{said}}}"#);
            match target_message(&target(&text)) {
                TargetMessage::Done { digest, .. } => digest,
                TargetMessage::DeadlinePassed => None,
            }
        };
        assert_eq!(confirmed("decant1:7:ab", true).as_deref(), Some("decant1:7:ab"));
        assert_eq!(confirmed("decant1:7:ab", false), None);
        assert_eq!(confirmed("decant1:7:ab cd", true), None);
        let old = target("Clone Complete, Preallocation applied");
        assert_eq!(target_message(&old), done(true));
    }

    #[test]
    fn the_last_end_counts() {
        assert_eq!(ended_at(&target("")).unwrap().second(), 5);
    }
}
