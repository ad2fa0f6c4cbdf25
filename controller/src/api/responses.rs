//! Responses of the API server: errors, lists, and the lines of a watch.

use std::sync::Arc;

use kube::core::{ObjectList, Status, WatchEvent as WireEvent};
use serde_json::value::RawValue;

use crate::api::cluster::{ApiError, END_OF_WATCH, ListPage, UNREADABLE, WatchEvent};
use crate::objects::{Kind, Object};

/// How much of an error body that is not a `Status` is shown.
const ERROR_TEXT_CHARS: usize = 300;
/// The length limit of a response about one object (see `client.rs`).
const LINE_LIMIT_BYTES: usize = 8 << 20;

/// Parses a page of a list. Its items are separated but not parsed, so that one invalid item does not affect the
/// others.
pub(crate) fn page(kind: Kind, bytes: Vec<u8>) -> Result<ListPage, ApiError> {
    let what = || format!("the list of {}", kind.plural());
    let text = Arc::new(String::from_utf8(bytes).map_err(|e| unreadable(&what(), &e))?);
    let list: ObjectList<&RawValue> = serde_json::from_str(&text).map_err(|e| unreadable(&what(), &e))?;
    Ok(ListPage {
        items: list.items.into_iter().map(|item| Object::within(&text, item)).collect(),
        resource_version: list.metadata.resource_version.unwrap_or_default(),
        next: list.metadata.continue_.unwrap_or_default(),
    })
}

/// The error of a response with `code`, with the message of the API server if there is one.
pub(crate) fn refusal(code: u16, text: &[u8]) -> ApiError {
    let status: Status = serde_json::from_slice(text).unwrap_or_default();
    let message = if status.message.is_empty() {
        String::from_utf8_lossy(text).trim().chars().take(ERROR_TEXT_CHARS).collect()
    } else {
        status.message
    };
    ApiError { code, reason: status.reason, message }
}

/// An error without a response.
pub(crate) fn no_answer(reason: &str, message: String) -> ApiError {
    ApiError { code: 0, reason: reason.to_owned(), message }
}

/// A response about `what` that is not the expected JSON.
pub fn unreadable(what: &str, why: &dyn std::fmt::Display) -> ApiError {
    no_answer(UNREADABLE, format!("cannot read the response of the API server about {what}: {why}"))
}

/// The end of a watch.
pub(crate) fn end_of_watch(why: &str) -> ApiError {
    no_answer(END_OF_WATCH, format!("the watch ended: {why}"))
}

/// An error with its causes, without repetitions.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = next.source();
    }
    text
}

/// Splits a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// There is no line end up to here.
    searched: usize,
}

impl Lines {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The next complete line without its end; blank lines are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let Some(at) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return if self.searched > LINE_LIMIT_BYTES {
                    Err(end_of_watch("a line is too long"))
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

/// Parses a line of a watch of `kind`, but not the object in it.
pub(crate) fn event(kind: Kind, line: Vec<u8>) -> Result<WatchEvent, ApiError> {
    let what = || format!("changes of {}", kind.plural());
    let text = Arc::new(String::from_utf8(line).map_err(|e| unreadable(&what(), &e))?);
    let line: WireEvent<&RawValue> = serde_json::from_str(&text).map_err(|e| unreadable(&what(), &e))?;
    Ok(match line {
        WireEvent::Added(object) | WireEvent::Modified(object) => {
            WatchEvent::Applied(Object::within(&text, object))
        }
        WireEvent::Deleted(object) => WatchEvent::Deleted(Object::within(&text, object)),
        WireEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark.metadata.resource_version),
        WireEvent::Error(status) => WatchEvent::Failed(ApiError {
            code: if status.code == 0 { 500 } else { status.code },
            reason: status.reason,
            message: status.message,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Meta, decode};
    use serde::Deserialize;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        metadata: Meta,
    }

    #[test]
    fn a_refusal_has_the_message_of_the_server_or_the_start_of_its_body() {
        let status = br#"{"kind":"Status","reason":"Forbidden","message":"exceeded quota: q","code":403}"#;
        assert!(refusal(403, status).exceeds_quota());
        assert_eq!(refusal(502, b"<html>bad gateway\n").message, "<html>bad gateway");
    }

    #[test]
    fn lines_are_complete_however_the_bytes_arrive() {
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
    fn an_expired_version_has_its_code() {
        let line = br#"{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(event(Kind::Pod, line.to_vec()), Ok(WatchEvent::Failed(e)) if e.is_expired()));
    }

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn one_invalid_item_leaves_the_others_readable() {
        let deep = nested(10_000);
        let text = format!(
            r#"{{"metadata":{{"resourceVersion":"5","continue":"c"}},"items":[{{"metadata":{{"name":"a"}}}},{deep},7,{{"metadata":{{"name":"b"}}}}]}}"#
        );
        let page = page(Kind::DataVolume, text.into_bytes()).unwrap();
        assert_eq!((page.items.len(), page.resource_version.as_str(), page.next.as_str()), (4, "5", "c"));
        let names: Vec<_> = page.items.iter().filter_map(|item| decode::<Named>(item).ok()).collect();
        assert_eq!(
            names.iter().map(|found| found.metadata.name.as_str()).collect::<Vec<_>>(),
            ["a", "", "b"]
        );
    }

    #[test]
    fn a_list_without_items_is_empty() {
        assert!(page(Kind::Pod, br#"{"items":null}"#.to_vec()).unwrap().items.is_empty());
    }

    #[test]
    fn a_change_of_any_depth_is_reported() {
        let line = format!(r#"{{"type":"MODIFIED","object":{}}}"#, nested(10_000));
        let Ok(WatchEvent::Applied(object)) = event(Kind::DataSource, line.into_bytes()) else { panic!() };
        assert_eq!(object.text().len(), nested(10_000).len());
    }

    #[test]
    fn an_unreadable_response_names_the_request() {
        let error = page(Kind::DataSource, b"<html>".to_vec()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read the response of the API server about the list of datasources"),
            "{error}"
        );
        let error = event(Kind::Pod, b"{}".to_vec()).unwrap_err().to_string();
        assert!(error.contains("changes of pods"), "{error}");
    }
}
