//! The termination message, which Kubernetes shows after the container has ended (docs/protocol.md sections 1.6 and 2.8).

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use decant_shared::protocol::cdi::TERMINATION_LIMIT_BYTES;

use crate::error::{Error, Kind, Result};
use crate::writing::WrittenClone;

/// The message of a successful source. It is plain text: controllers search it for a phrase.
pub fn of_source(preallocation: bool, digest: Option<&str>, not_kept: Option<&str>) -> String {
    let applied = if preallocation { ", Preallocation applied" } else { "" };
    let digest = digest.map_or(String::new(), |digest| format!("; {digest}"));
    let not_kept = not_kept.map_or(String::new(), |words| format!("; not kept: {words}"));
    format!("Clone Complete{applied}{digest}{not_kept}")
}

/// The message of a successful target. It is JSON: CDI's controllers parse it since 1.60. Older ones search it for the
/// same phrase as in a source's message. Unlike CDI's own message, it reports whether preallocation was really applied.
pub fn of_target(received: &WrittenClone) -> String {
    let verification = received.verification;
    let mut message = serde_json::json!({
        "preallocationApplied": received.preallocated,
        "message": of_source(received.preallocated, None, None),
        "digest": verification.content_digest.to_string(),
        "digestConfirmed": verification.is_confirmed,
    });
    if !received.not_kept.is_empty() {
        message["notKept"] = received.not_kept.to_json();
    }
    message.to_string()
}

/// The message of a target whose deadline passed without a transfer.
pub fn of_deadline() -> String {
    serde_json::json!({ "deadlinePassed": true, "message": "Deadline Passed" }).to_string()
}

/// Writes `message` to `path`. An error is only logged, because it must not change the outcome of the clone (the disk
/// of the node may be full).
pub(crate) fn leave(path: &Path, message: &str) {
    if let Err(unwritable) = write(path, message) {
        log::warn!("{unwritable}");
    }
}

/// Runs `command`. If it fails, writes the reason to `path`.
pub(crate) fn on_failure<T>(path: &Path, command: impl FnOnce() -> Result<T>) -> Result<T> {
    command().inspect_err(|error| leave(path, &error.to_string()))
}

/// Writes `text` as one line. If the file does not exist (outside of Kubernetes), nothing is written.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut line = text.replace(['\r', '\n'], " ");
    if line.len() > TERMINATION_LIMIT_BYTES {
        let end = (0..=TERMINATION_LIMIT_BYTES).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(end);
    }
    // The file is not created: the kubelet creates it. Outside of Kubernetes it would be an unwanted file in /dev.
    let mut file = match OpenOptions::new().write(true).truncate(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            log::debug!("{} does not exist; the result would be: {line}", path.display());
            return Ok(());
        }
        Err(e) => return Err(unwritable(path, e)),
    };
    file.write_all(line.as_bytes()).map_err(|e| unwritable(path, e))
}

fn unwritable(path: &Path, cause: std::io::Error) -> Error {
    Error::io(Kind::Failed, format!("cannot write the termination message to {}", path.display()), cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::not_kept::NotKept;
    use crate::attributes::{Attribute, Kinds};
    use crate::digest::{ContentDigest, Digest};
    use crate::writing::Verification;
    use decant_shared::protocol::cdi::ContentType;

    fn received(preallocated: bool) -> WrittenClone {
        let content_digest = ContentDigest { content_bytes: 1, digest: Digest([7; 32]) };
        let verification = Verification { content_digest, is_confirmed: true };
        WrittenClone {
            content: ContentType::Block,
            stream_bytes: 1,
            verification,
            preallocated,
            not_kept: NotKept::default(),
        }
    }

    #[test]
    fn the_messages_are_those_that_cdi_expects() {
        assert_eq!(of_source(false, None, None), "Clone Complete");
        assert_eq!(
            of_source(true, Some("decant1:0:ab"), Some("owners of \"a\"")),
            "Clone Complete, Preallocation applied; decant1:0:ab; not kept: owners of \"a\""
        );
        let json: serde_json::Value = serde_json::from_str(&of_target(&received(false))).unwrap();
        assert_eq!(
            (&json["preallocationApplied"], &json["message"]),
            (&false.into(), &"Clone Complete".into())
        );
        let digest = json["digest"].as_str().unwrap();
        assert!(digest.starts_with("decant1:1:0707") && json["digestConfirmed"] == true, "{json}");
        assert_eq!(json.get("notKept"), None);
        let mut lossy = received(false);
        let mut kinds = Kinds::default();
        kinds.insert(Attribute::Owner);
        lossy.not_kept.add(kinds, || b"a".to_vec());
        let json: serde_json::Value = serde_json::from_str(&of_target(&lossy)).unwrap();
        assert_eq!(json["notKept"]["owners"]["entries"], 1);
        let json: serde_json::Value = serde_json::from_str(&of_deadline()).unwrap();
        assert_eq!(json["deadlinePassed"], true);
    }

    #[test]
    fn a_message_is_one_line_within_the_kubelets_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &format!("a\nb{}", "é".repeat(4000))).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.starts_with("a bé") && text.len() <= TERMINATION_LIMIT_BYTES);
    }

    #[test]
    fn a_missing_file_is_not_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        write(&path, "x").unwrap();
        assert!(!path.exists());
    }
}
