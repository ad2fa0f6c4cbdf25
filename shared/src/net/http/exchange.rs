//! One request, from its head to its answer.

use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::admission::{ConnPhase, Limits};
use super::body::Body;
use super::connection_slots::PhaseReporter;
use super::head::{HEAD_LIMIT_BYTES, HeadError, Request, parse_request};
use crate::net::conn::{Conn, ConnError};
use crate::process::stop::Stop;

/// One request and the connection it came on.
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The peer's address, for logs.
    pub peer: String,
    conn: Conn,
    /// Bytes that arrived together with the head, after it.
    early: Vec<u8>,
    limits: Limits,
    stop: Stop,
    phase: PhaseReporter,
}

/// What an exchange needs besides its connection.
pub(super) struct ExchangeContext {
    pub(super) limits: Limits,
    /// Deadline for the request's head.
    pub(super) head_by: Instant,
    /// Ends every wait of the connection.
    pub(super) stop: Stop,
    /// Reports what the connection is doing.
    pub(super) phase: PhaseReporter,
}

impl Exchange {
    /// The peer's verified certificates, leaf first.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.conn.peer_certificates()
    }

    /// Whether TLS protects the exchange.
    pub fn is_encrypted(&self) -> bool {
        self.conn.is_encrypted()
    }

    /// The stop token of this connection: setting it ends the waits of this connection only.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// The body. Sends `100 Continue` if the client waits for it.
    pub fn body(&mut self) -> Result<Body<'_>, ConnError> {
        if self.request.expects_continue {
            self.conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", self.limits.write, "answer")?;
        }
        let early = std::mem::take(&mut self.early);
        Ok(Body::new(&mut self.conn, self.request.framing, &early).reporting(self.phase.clone()))
    }

    /// Sends an answer with `Connection: close`. A `HEAD` request gets no body.
    pub fn answer(&mut self, status: u16, content_type: &str, body: &str) -> Result<(), ConnError> {
        let reason = reason(status);
        let len = body.len();
        let mut text =
            format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {len}\r\nConnection: close\r\n");
        if !body.is_empty() {
            text += &format!("Content-Type: {content_type}\r\n");
        }
        text += "\r\n";
        if self.request.method != "HEAD" {
            text += body;
        }
        self.phase.enter(ConnPhase::Answering);
        self.conn.write_all(text.as_bytes(), self.limits.write, "answer")
    }

    /// Reads the head of a request. `None` if there is nothing to serve: the peer sent nothing, or sent something that is
    /// not a request and was answered here.
    pub(super) fn open(
        mut conn: Conn,
        peer: &str,
        context: ExchangeContext,
    ) -> Result<Option<Self>, ConnError> {
        let ExchangeContext { limits, head_by, stop, phase } = context;
        match read_head(&mut conn, head_by)? {
            Some(Ok((request, early))) => {
                phase.enter(ConnPhase::Serving);
                Ok(Some(Self { request, peer: peer.to_owned(), conn, early, limits, stop, phase }))
            }
            Some(Err(bad)) => {
                let text = format!(
                    "HTTP/1.1 {} {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    bad.status(),
                    reason(bad.status())
                );
                phase.enter(ConnPhase::Closing);
                conn.write_all(text.as_bytes(), limits.write, "answer")?;
                conn.close(limits.linger);
                log::debug!("{peer}: {bad}");
                Ok(None)
            }
            // TCP probes connect and send nothing.
            None => Ok(None),
        }
    }

    /// Closes the connection; the peer still receives the answer.
    pub(super) fn close(self) {
        self.phase.enter(ConnPhase::Closing);
        self.conn.close(self.limits.linger);
    }
}

/// A parsed request with the bytes that arrived after its head, or why the head is not accepted.
type Head = Result<(Request, Vec<u8>), HeadError>;

/// Reads a head; `None` if the peer closed before it sent anything.
fn read_head(conn: &mut Conn, deadline: Instant) -> Result<Option<Head>, ConnError> {
    let mut bytes = vec![0; HEAD_LIMIT_BYTES + 1];
    let mut len = 0;
    loop {
        match parse_request(&bytes[..len]) {
            Ok(Some((request, head_len))) => {
                return Ok(Some(Ok((request, bytes[head_len..len].to_vec()))));
            }
            Ok(None) => {}
            Err(bad) => return Ok(Some(Err(bad))),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match conn.read(&mut bytes[len..], left, "request head")? {
            0 if len == 0 => return Ok(None),
            0 => return Err(ConnError::HungUp("closed within the request head".to_owned())),
            more => len += more,
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_phrases_are_those_of_the_standard() {
        let standard = [
            (200, "OK"),
            (400, "Bad Request"),
            (401, "Unauthorized"),
            (404, "Not Found"),
            (405, "Method Not Allowed"),
            (409, "Conflict"),
            (411, "Length Required"),
            (431, "Request Header Fields Too Large"),
            (500, "Internal Server Error"),
            (501, "Not Implemented"),
            (503, "Service Unavailable"),
        ];
        for (status, phrase) in standard {
            assert_eq!(reason(status), phrase, "{status}");
        }
    }
}
