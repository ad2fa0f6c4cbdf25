//! Heads of requests and responses.

use std::fmt;

/// No head may be longer. CDI's is 200 bytes, a proxy adds some.
pub const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// No head may have more header lines.
const HEADER_LIMIT: usize = 64;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// How the body is framed; without a word of the client, as if it had said that there is none.
    pub framing: Framing,
    /// Whether the client said how the body is framed.
    pub is_framed: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    headers: Headers,
}

/// What a response says before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// How the body is framed; [`Framing::UntilClose`] when nothing is said.
    pub framing: Framing,
}

/// How a body is framed (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow; the terminating chunk is the only proof that the body is complete.
    Chunked,
    /// Everything until the connection closes (responses only).
    UntilClose,
}

/// Why a head is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHead {
    /// Longer than [`HEAD_LIMIT_BYTES`] or more lines than allowed.
    TooLarge,
    /// Not HTTP/1.x.
    Malformed,
    /// Two framings, or one that cannot be trusted: a request smuggler's tool.
    Framing,
}

impl BadHead {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            BadHead::TooLarge => 431,
            BadHead::Malformed | BadHead::Framing => 400,
        }
    }
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadHead::TooLarge => "the head is too large",
            BadHead::Malformed => "the head is not HTTP/1.1",
            BadHead::Framing => "the body's length is ambiguous",
        })
    }
}

impl Request {
    /// The value of header `name` (any case), if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

type Parsed<T> = Result<Option<(T, usize)>, BadHead>;

/// Parses a request head at the start of `bytes`: the request and the length of its head, or `None` when more
/// bytes are needed.
pub fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut parsed = httparse::Request::new(&mut lines);
    let Some(len) = complete(parsed.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::from(&*parsed.headers);
    let target = parsed.path.ok_or(BadHead::Malformed)?;
    let framing = headers.framing()?;
    let request = Request {
        method: parsed.method.ok_or(BadHead::Malformed)?.to_owned(),
        path: path_of(target).to_owned(),
        framing: framing.unwrap_or(Framing::Length(0)),
        is_framed: framing.is_some(),
        expects_continue: headers.get("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")),
        headers,
    };
    Ok(Some((request, len)))
}

/// Parses a response head at the start of `bytes`, like [`parse_request`].
pub fn parse_response(bytes: &[u8]) -> Parsed<Response> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut parsed = httparse::Response::new(&mut lines);
    let Some(len) = complete(parsed.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::from(&*parsed.headers);
    let status = parsed.code.ok_or(BadHead::Malformed)?;
    let framing = match status {
        100..=199 | 204 | 304 => Framing::Length(0),
        _ => headers.framing()?.unwrap_or(Framing::UntilClose),
    };
    Ok(Some((Response { status, framing }, len)))
}

fn complete(
    outcome: Result<httparse::Status<usize>, httparse::Error>,
    bytes: &[u8],
) -> Result<Option<usize>, BadHead> {
    match outcome {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_LIMIT_BYTES => Ok(Some(len)),
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_LIMIT_BYTES => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(BadHead::TooLarge),
        Err(_) => Err(BadHead::Malformed),
    }
}

/// The path of a request target in origin or absolute form (RFC 9112, 3.2).
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    path.split('?').next().unwrap_or(path)
}

/// Header lines: lower-case name, raw value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Headers(Vec<(String, Vec<u8>)>);

impl From<&[httparse::Header<'_>]> for Headers {
    fn from(lines: &[httparse::Header<'_>]) -> Self {
        Self(lines.iter().map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec())).collect())
    }
}

impl Headers {
    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let name = name.to_ascii_lowercase();
        self.0.iter().filter(move |(found, _)| *found == name).map(|(_, value)| value.as_slice())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }

    /// The framing that the headers name. More than one, or one that is not exactly `chunked` or a plain
    /// number, is refused.
    fn framing(&self) -> Result<Option<Framing>, BadHead> {
        let mut codings = self.all("transfer-encoding");
        let mut lengths = self.all("content-length");
        match (codings.next(), codings.next(), lengths.next(), lengths.next()) {
            (None, _, None, _) => Ok(None),
            (Some(coding), None, None, _) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Framing::Chunked))
            }
            (None, _, Some(length), None) => decimal(length.trim_ascii()).map(Framing::Length).map(Some),
            _ => Err(BadHead::Framing),
        }
    }
}

fn decimal(digits: &[u8]) -> Result<u64, BadHead> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadHead::Framing);
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(BadHead::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(text: &str) -> Result<Option<Request>, BadHead> {
        parse_request(text.as_bytes()).map(|found| found.map(|(request, _)| request))
    }

    #[test]
    fn the_head_that_cdi_sends_is_understood() {
        let text = "POST /v1beta1/upload HTTP/1.1\r\nHost: localhost:9557\r\nUser-Agent: Go-http-client/1.1\r\n\
                    Transfer-Encoding: chunked\r\nX-Cdi-Content-Type: blockdevice-clone\r\nAccept-Encoding: gzip\r\n\r\n";
        let found = request(text).unwrap().unwrap();
        assert_eq!((found.method.as_str(), found.path.as_str()), ("POST", "/v1beta1/upload"));
        assert_eq!(found.framing, Framing::Chunked);
        assert_eq!(found.header("x-cdi-content-type"), Some("blockdevice-clone"));
    }

    #[test]
    fn a_request_that_says_nothing_about_its_body_is_told_from_one_without_a_body() {
        let is_framed = |line: &str| request(&format!("POST / HTTP/1.1\r\n{line}\r\n")).unwrap().unwrap();
        let found = ["", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"].map(is_framed);
        assert_eq!(found.map(|request| request.is_framed), [false, true, true]);
    }

    #[test]
    fn half_a_head_needs_more() {
        assert_eq!(request("POST / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    }

    #[test]
    fn two_framings_are_refused() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(request(text), Err(BadHead::Framing));
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(request(text), Err(BadHead::Framing));
        let text = "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n";
        assert_eq!(request(text), Err(BadHead::Framing));
    }

    #[test]
    fn a_head_beyond_the_limit_is_too_large() {
        let text = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LIMIT_BYTES));
        assert_eq!(request(&text), Err(BadHead::TooLarge));
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADER_LIMIT + 1));
        assert_eq!(request(&text), Err(BadHead::TooLarge));
    }

    #[test]
    fn the_query_and_the_authority_are_not_part_of_the_path() {
        let found = request("GET https://pod:8443/metrics?x=1 HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!(found.path, "/metrics");
    }

    #[test]
    fn a_response_without_a_length_lasts_until_the_close() {
        let (found, _) = parse_response(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap().unwrap();
        assert_eq!(found, Response { status: 503, framing: Framing::UntilClose });
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_request(&bytes);
            let _ = parse_response(&bytes);
        }
    }
}
