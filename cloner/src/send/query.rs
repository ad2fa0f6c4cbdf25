//! Small requests before and during the upload: what the target can do, what it holds, and its progress
//! (docs/protocol.md section 6).

use std::time::Duration;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::{CONTENT_TYPE_HEADER, FROM_HEADER, LENGTH_HEADER, SESSION_PATH};
use decant_shared::protocol::session::{ATTRIBUTES_LINE, GREETING, STREAMS_LINE, SessionStatus};

use crate::digest::Digest;
use crate::error::Result;
use crate::send::answer::{Answer, refused};
use crate::send::connection::Connection;
use crate::send::source::Source;

/// The time limit for an answer. It is enough for a target that reads a segment back from a slow disk.
pub(super) const ANSWER: Duration = Duration::from_secs(120);

/// The target's capabilities, as it announces them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The target is Decant, and supports holes, resuming and `/v1/session`. Any other target answers 404.
    pub is_extended: bool,
    /// The target reads attributes from extended headers.
    pub keeps_attributes: bool,
    /// The target supports a clone over several connections.
    pub has_streams: bool,
}

/// Asks the target what it can do.
pub fn capabilities(source: &Source, stop: &Stop) -> Result<Capabilities> {
    let question = Question { method: "OPTIONS", path: &source.url.path, headers: "" };
    let answer = query(source, question, ANSWER, stop)?;
    let text = answer.text();
    let is_extended = answer.status == 200 && text.lines().next() == Some(GREETING);
    let knows = |capability| is_extended && text.lines().skip(1).any(|line| line == capability);
    Ok(Capabilities {
        is_extended,
        keeps_attributes: knows(ATTRIBUTES_LINE),
        has_streams: knows(STREAMS_LINE),
    })
}

/// Asks the target for its status; `None` if it does not report it.
pub fn session(source: &Source, stop: &Stop) -> Result<Option<SessionStatus>> {
    let question = Question { method: "GET", path: SESSION_PATH, headers: "" };
    let answer = query(source, question, ANSWER, stop)?;
    Ok(if answer.status == 200 { SessionStatus::parse(&answer.text()) } else { None })
}

/// Digests of segments that the target holds, starting with segment `from`, for a stream of `total_bytes` (if known).
/// Returns some of them, or none if the target holds no more. The answer must be complete within `limit`.
pub fn held_segments(
    source: &Source,
    from: usize,
    total_bytes: Option<u64>,
    limit: Duration,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let length = total_bytes.map_or(String::new(), |total| format!("{LENGTH_HEADER}: {total}\r\n"));
    let headers = format!("{FROM_HEADER}: {from}\r\n{CONTENT_TYPE_HEADER}: {}\r\n{length}", source.content);
    let question = Question { method: "GET", path: SESSION_PATH, headers: &headers };
    let answer = query(source, question, limit, stop)?;
    match answer.status {
        200 => {
            let text = answer.text();
            let digests = text.lines().skip_while(|line| !line.is_empty()).skip(1);
            Ok(digests.map_while(|line| line.parse().ok()).collect())
        }
        // The target is still busy with the connection of a source that died. Its segments are not final yet.
        503 => Err(refused(&answer)),
        _ => Ok(Vec::new()),
    }
}

/// A request without a body.
#[derive(Clone, Copy)]
struct Question<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a str,
}

/// Sends `question` over a separate connection. The answer must be complete within `limit`.
fn query(source: &Source, question: Question<'_>, limit: Duration, stop: &Stop) -> Result<Answer> {
    let Question { method, path, headers } = question;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: decant/{}\r\nContent-Length: 0\r\n{headers}\r\n",
        source.url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    let mut connection = Connection::open(source, stop)?;
    let answer = connection.ask(request.as_bytes(), limit)?;
    connection.close();
    Ok(answer)
}
