//! Small requests before and beside the upload: what can the target do, what does it hold, how far is it
//! (docs/protocol.md, 6).

use std::time::Duration;

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::body::{Body, BodyError};
use decant_shared::net::http::head::{Framing, parse_response};
use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::{CONTENT_TYPE_HEADER, FROM_HEADER, LENGTH_HEADER, SESSION_PATH};
use decant_shared::protocol::session::{ATTRIBUTES_LINE, GREETING, STREAMS_LINE, SessionStatus};

use crate::digest::Digest;
use crate::error::Result;
use crate::send::answer::{explain, refused};
use crate::send::connect::connect;
use crate::send::source::Source;
use crate::send::wait::Wait;

/// An answer of a target that has to read a segment back from a slow disk comes within this time.
pub(super) const ANSWER: Duration = Duration::from_secs(120);
/// How long to look for an alert on a connection that broke.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// No answer to these questions is longer.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// What a target says that it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It is Decant's, and so knows holes, resuming and `/v1/session`. Any other answers 404.
    pub is_extended: bool,
    /// It reads attributes from extended headers.
    pub keeps_attributes: bool,
    /// It takes a clone over several connections.
    pub has_streams: bool,
}

/// Asks the target what it can do.
pub fn capabilities(source: &Source, stop: &Stop) -> Result<Capabilities> {
    let (status, text) = query(source, "OPTIONS", &source.url.path, "", stop)?;
    let is_extended = status == 200 && text.lines().next() == Some(GREETING);
    let knows = |word| is_extended && text.lines().skip(1).any(|line| line == word);
    Ok(Capabilities {
        is_extended,
        keeps_attributes: knows(ATTRIBUTES_LINE),
        has_streams: knows(STREAMS_LINE),
    })
}

/// What the target is doing; `None` when it does not say.
pub fn session(source: &Source, stop: &Stop) -> Result<Option<SessionStatus>> {
    let (status, text) = query(source, "GET", SESSION_PATH, "", stop)?;
    Ok(if status == 200 { SessionStatus::parse(&text) } else { None })
}

/// Digests of segments that the target holds, from segment `from` on, of a stream of `total_bytes`, if that is known:
/// some of them, or none if it holds no more. The answer must be complete within `limit`.
pub fn held_segments(
    source: &Source,
    from: usize,
    total_bytes: Option<u64>,
    limit: Duration,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let length = total_bytes.map_or(String::new(), |total| format!("{LENGTH_HEADER}: {total}\r\n"));
    let headers = format!("{FROM_HEADER}: {from}\r\n{CONTENT_TYPE_HEADER}: {}\r\n{length}", source.content);
    let (status, text) = query_within(limit, source, "GET", SESSION_PATH, &headers, stop)?;
    let lines = text.lines().skip_while(|line| !line.is_empty()).skip(1);
    match status {
        200 => Ok(lines.map_while(|line| line.parse().ok()).collect()),
        // It is still busy with the connection of a source that died: what it holds is not settled yet.
        503 => Err(refused(status, &text)),
        _ => Ok(Vec::new()),
    }
}

fn query(source: &Source, method: &str, path: &str, headers: &str, stop: &Stop) -> Result<(u16, String)> {
    query_within(ANSWER, source, method, path, headers, stop)
}

/// One request without a body on a connection of its own: the status and the text of the answer, which must be complete
/// within `limit`.
fn query_within(
    limit: Duration,
    source: &Source,
    method: &str,
    path: &str,
    headers: &str,
    stop: &Stop,
) -> Result<(u16, String)> {
    let mut conn = connect(source, stop)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: decant/{}\r\nContent-Length: 0\r\n{headers}\r\n",
        source.url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    let doing = "ask the target";
    let broken = |fault| explain(fault, &source.url);
    let (mut heard, mut buffer, wait) = (Vec::new(), [0; 4096], Wait::of(limit));
    if let Err(fault) = conn.write_all(request.as_bytes(), source.timeouts.stall, doing) {
        // A target that does not want us said why before it closed; that may still be in our socket.
        let said = conn.read(&mut buffer, LAST_WORDS, doing).err();
        return Err(broken(said.filter(|said| matches!(said, ConnError::Tls(_))).unwrap_or(fault)));
    }
    let (response, head_len) = loop {
        match parse_response(&heard) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(bad) => return Err(broken(ConnError::HungUp(format!("its answer makes no sense: {bad}")))),
        }
        match conn.read(&mut buffer, wait.left(), doing).map_err(|fault| broken(wait.explain(fault)))? {
            0 => return Err(broken(ConnError::HungUp("closed without an answer".to_owned()))),
            len => heard.extend_from_slice(&buffer[..len]),
        }
    };
    let framing = match response.framing {
        Framing::UntilClose => Framing::Length(0),
        known => known,
    };
    let mut text = Vec::new();
    let mut body = Body::new(&mut conn, framing, &heard[head_len..]);
    let cut = |fault| match fault {
        BodyError::Conn(fault) => broken(wait.explain(fault)),
        other => broken(ConnError::HungUp(other.to_string())),
    };
    while let Some(part) = body.next(wait.left()).map_err(cut)? {
        text.extend_from_slice(part);
        if text.len() > ANSWER_LIMIT_BYTES {
            return Err(broken(ConnError::HungUp("its answer does not end".to_owned())));
        }
    }
    conn.close(source.timeouts.connect);
    Ok((response.status, String::from_utf8_lossy(&text).into_owned()))
}
