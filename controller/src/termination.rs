//! What pods left behind when they ended (contract 1.6, 2.8).

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::annotations::TARGET_CONTAINER;
use crate::resource::Pod;
use crate::resource::pod::{ContainerStatus, Terminated};

/// What a target pod that succeeded says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetWord {
    /// No source came in time; nothing was cloned.
    DeadlinePassed,
    /// The clone is complete.
    Done {
        /// Whether space was preallocated.
        preallocated: bool,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    deadline_passed: bool,
    preallocation_applied: bool,
}

/// The word of a target pod in phase Succeeded. A message that cannot be read is not an error: the exit code says
/// that the clone is complete (contract 8, #43).
pub fn target_word(pod: &Pod) -> TargetWord {
    let text = pod.container_status(TARGET_CONTAINER).and_then(|status| status.state.terminated.as_ref());
    let message = text.map(|ended| parse(&ended.message)).unwrap_or_default();
    if message.deadline_passed {
        TargetWord::DeadlinePassed
    } else {
        TargetWord::Done { preallocated: message.preallocation_applied }
    }
}

fn parse(text: &str) -> Message {
    serde_json::from_str(text).unwrap_or_else(|_| Message {
        deadline_passed: false,
        preallocation_applied: text.contains("Preallocation applied"),
    })
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
        assert_eq!(target_word(&target("{}")), TargetWord::Done { preallocated: false });
        let deadline = target(r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#);
        assert_eq!(target_word(&deadline), TargetWord::DeadlinePassed);
    }

    #[test]
    fn an_unreadable_message_of_a_good_end_is_a_good_end() {
        for text in ["", "garbage", "{", "[1]"] {
            assert_eq!(target_word(&target(text)), TargetWord::Done { preallocated: false }, "{text}");
        }
        let old = target("Clone Complete, Preallocation applied");
        assert_eq!(target_word(&old), TargetWord::Done { preallocated: true });
    }

    #[test]
    fn the_last_end_counts() {
        assert_eq!(ended_at(&target("")).unwrap().second(), 5);
    }
}
