//! One request, from its head to the answer.

use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::body::Body;
use super::head::{BadHead, HEAD_LIMIT_BYTES, Request, parse_request};
use super::places::{Limits, Phase};
use super::room::Marker;
use crate::net::conn::{Conn, Fault};
use crate::process::stop::Stop;

/// One request and the connection it came on.
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The peer's address, for logs.
    pub peer: String,
    conn: Conn,
    /// What came behind the head.
    early: Vec<u8>,
    limits: Limits,
    stop: Stop,
    marker: Marker,
}

/// What an exchange needs besides its connection.
pub(super) struct Terms {
    /// What is allowed.
    pub(super) limits: Limits,
    /// Until when the request's head has to be complete.
    pub(super) head_by: Instant,
    /// Ends every wait of the connection.
    pub(super) stop: Stop,
    /// Is told what the connection is doing.
    pub(super) marker: Marker,
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

    /// Ends every wait of this connection alone.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// The body. Tells a client that waits for it (`Expect: 100-continue`) to go ahead.
    pub fn body(&mut self) -> Result<Body<'_>, Fault> {
        if self.request.expects_continue {
            self.conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", self.limits.write, "answer")?;
        }
        let early = std::mem::take(&mut self.early);
        Ok(Body::new(&mut self.conn, self.request.framing, &early).marking(self.marker.clone()))
    }

    /// Sends an answer and announces the end of the connection. A `HEAD` request gets no body.
    pub fn answer(&mut self, status: u16, content_type: &str, body: &str) -> Result<(), Fault> {
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
        self.marker.enter(Phase::Answering);
        self.conn.write_all(text.as_bytes(), self.limits.write, "answer")
    }

    /// Reads a request's head. `None` when there is nothing to serve: the peer left without a word, or what it
    /// said is no request and was answered here.
    pub(super) fn open(mut conn: Conn, peer: &str, terms: Terms) -> Result<Option<Self>, Fault> {
        let Terms { limits, head_by, stop, marker } = terms;
        match read_head(&mut conn, head_by)? {
            Some(Ok((request, early))) => {
                marker.enter(Phase::Serving);
                Ok(Some(Self { request, peer: peer.to_owned(), conn, early, limits, stop, marker }))
            }
            Some(Err(bad)) => {
                let text = format!(
                    "HTTP/1.1 {} {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    bad.status(),
                    reason(bad.status())
                );
                marker.enter(Phase::Closing);
                conn.write_all(text.as_bytes(), limits.write, "answer")?;
                conn.close(limits.linger);
                log::debug!("{peer}: {bad}");
                Ok(None)
            }
            // TCP probes do that.
            None => Ok(None),
        }
    }

    /// Ends the connection; what was answered still arrives.
    pub(super) fn close(self) {
        self.marker.enter(Phase::Closing);
        self.conn.close(self.limits.linger);
    }
}

type Head = Result<(Request, Vec<u8>), BadHead>;

/// The request's head and what came behind it; `None` when the peer closed before it said anything.
fn read_head(conn: &mut Conn, deadline: Instant) -> Result<Option<Head>, Fault> {
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
            0 => return Err(Fault::HungUp("closed inside the request head".to_owned())),
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
