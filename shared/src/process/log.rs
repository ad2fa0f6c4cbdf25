//! Log lines on stderr: text for people, JSON for machines, no colours, one line per record.
//!
//! Levels: `error` ends the process; `warn` is an unexpected condition; `info` describes a clone in about a dozen lines;
//! `debug` and `trace` are for developers. Keys and certificates are never logged. Control characters and characters that
//! reorder text are always escaped.

use std::io::Write;

use env_logger::{Builder, Target};
use log::{LevelFilter, Record};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::process::printable::{escaped, is_unsafe};

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `2026-11-23T10:00:00Z INFO message`
    #[default]
    Text,
    /// One JSON object: `time`, `level`, `target`, `message`.
    Json,
    /// `cloner: message`, for a person at a terminal.
    Plain,
}

/// Starts logging to `out`: records of `level` and above, unless `RUST_LOG` sets other filters. A second call does nothing.
pub fn init(format: Format, level: LevelFilter, out: Box<dyn Write + Send>) {
    let mut builder = Builder::new();
    match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => builder.parse_filters(&filter),
        _ => {
            // These libraries log every connection, including failed ones, which we report ourselves.
            for library in ["rustls", "ureq", "ureq_proto", "hyper_util", "tower"] {
                builder.filter_module(library, LevelFilter::Warn);
            }
            builder.filter_module("kube_client", LevelFilter::Off).filter_level(level)
        }
    };
    builder
        .target(Target::Pipe(out))
        .format(move |out, record| writeln!(out, "{}", render(format, record, OffsetDateTime::now_utc())));
    let _ = builder.try_init();
}

/// One record as one line.
fn render(format: Format, record: &Record<'_>, now: OffsetDateTime) -> String {
    let time = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
    let message = record.args().to_string();
    match format {
        Format::Text => format!("{time} {:5} {}", record.level(), one_line(message)),
        Format::Plain => format!("cloner: {}", one_line(message)),
        Format::Json => serde_json::json!({
            "time": time,
            "level": record.level().as_str().to_ascii_lowercase(),
            "target": record.target(),
            "message": escaped_lines(&message),
        })
        .to_string(),
    }
}

/// `message` in one line, without characters that a terminal interprets.
fn one_line(message: String) -> String {
    if message.contains(is_unsafe) { escaped(&message.replace('\n', " ")) } else { message }
}

/// Like [`one_line`], but keeps line breaks: JSON escapes them itself.
fn escaped_lines(message: &str) -> String {
    message.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn line(format: Format, message: &str) -> String {
        let args = format_args!("{message}").to_string();
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        render(format, &Record::builder().level(Level::Info).args(format_args!("{args}")).build(), now)
    }

    #[test]
    fn a_record_is_one_line_of_text() {
        assert_eq!(line(Format::Text, "two\nlines"), "2023-11-14T22:13:20Z INFO  two lines");
    }

    #[test]
    fn a_record_contains_no_character_that_a_terminal_interprets() {
        let message = "GET /\u{9b}31mFAKE\u{2028}ERROR\u{202e}\u{1b}[2J\r";
        for format in [Format::Text, Format::Plain, Format::Json] {
            let line = line(format, message);
            assert!(!line.contains(is_unsafe), "{line:?}");
            assert!(line.contains("u{9b}31mFAKE") && line.contains("u{202e}"), "{line:?}");
        }
    }

    #[test]
    fn a_json_record_is_an_object_for_any_message() {
        let parsed: serde_json::Value =
            serde_json::from_str(&line(Format::Json, "a \"quote\"\nand more")).unwrap();
        assert_eq!(parsed["message"], "a \"quote\"\nand more");
        assert_eq!(parsed["level"], "info");
    }
}
