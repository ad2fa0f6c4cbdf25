//! What the API server's answers mean: refusals as values, lists, and the lines of a watch.

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{ApiError, WatchEvent};
use crate::lean::Lean;

/// The start of an error that is not a `Status`, for people.
const ERROR_TEXT_CHARS: usize = 300;
/// The largest object that etcd takes is 1.5 MB; JSON may be a little longer than what is stored.
const LINE_LIMIT_BYTES: usize = 4 << 20;

/// A page of a list, as it is on the wire.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    pub(crate) metadata: ListMeta,
    pub(crate) items: Option<Vec<Lean>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    pub(crate) next: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    reason: String,
    message: String,
    code: u16,
}

/// The error of an answer with `code`, in the API server's own words where there are any.
pub(crate) fn refusal(code: u16, text: &[u8]) -> ApiError {
    let said: Refusal = serde_json::from_slice(text).unwrap_or_default();
    let message = if said.message.is_empty() {
        String::from_utf8_lossy(text).trim().chars().take(ERROR_TEXT_CHARS).collect()
    } else {
        said.message
    };
    ApiError { code, reason: said.reason, message }
}

/// Nothing that could be called an answer came.
pub(crate) fn no_answer(reason: &str, message: String) -> ApiError {
    ApiError { code: 0, reason: reason.to_owned(), message }
}

/// An answer that is no JSON, or not the JSON that was expected.
pub(crate) fn unreadable(e: &serde_json::Error) -> ApiError {
    no_answer("Unreadable", format!("the answer cannot be read: {e}"))
}

/// The end of a watch, which is never silence.
pub(crate) fn end_of_watch(why: &str) -> ApiError {
    no_answer("EndOfWatch", format!("the watch ended: {why}"))
}

/// An error with all its causes, once each.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
}

impl Lines {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The next whole line without its end; blank lines are left out.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let Some(at) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return if self.searched > LINE_LIMIT_BYTES {
                    Err(end_of_watch("it sent a line without end"))
                } else {
                    Ok(None)
                };
            };
            let end = self.searched + at;
            let rest = self.bytes.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            line.truncate(end);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[derive(Deserialize)]
struct EventLine {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    object: Lean,
}

/// The event that a line of a watch tells.
pub(crate) fn event(line: &[u8]) -> Result<WatchEvent, ApiError> {
    let EventLine { kind, object: Lean(object) } =
        serde_json::from_slice(line).map_err(|e| unreadable(&e))?;
    Ok(match kind.as_str() {
        "ADDED" | "MODIFIED" => WatchEvent::Applied(object),
        "DELETED" => WatchEvent::Deleted(object),
        "BOOKMARK" => {
            let version = object["metadata"]["resourceVersion"].as_str();
            WatchEvent::Bookmark(version.unwrap_or_default().to_owned())
        }
        _ => {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            WatchEvent::Failed(refusal(code, Value::to_string(&object).as_bytes()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_servers_words_or_the_start_of_its_body() {
        let status = br#"{"kind":"Status","reason":"Forbidden","message":"exceeded quota: q","code":403}"#;
        assert!(refusal(403, status).exceeds_quota());
        assert_eq!(refusal(502, b"<html>bad gateway\n").message, "<html>bad gateway");
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for byte in b"one\n\ntwo\nthr" {
            lines.push(&[*byte]);
            while let Some(line) = lines.next().unwrap() {
                out.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(out, ["one", "two"]);
    }

    #[test]
    fn an_endless_line_ends_the_watch() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; LINE_LIMIT_BYTES + 1]);
        assert!(lines.next().is_err());
    }

    #[test]
    fn an_expired_version_is_told_by_its_code() {
        let line = br#"{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(event(line), Ok(WatchEvent::Failed(e)) if e.is_expired()));
    }
}
