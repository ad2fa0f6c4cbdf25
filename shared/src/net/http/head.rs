//! Parses the heads of requests and responses.

use std::fmt;

/// Maximum length of a head. CDI's has 200 bytes, a proxy adds some.
pub const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// Maximum number of header lines.
const HEADER_LIMIT: usize = 64;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its question mark; empty if there is none.
    pub query: String,
    /// How the body is framed; [`Framing::Length`] 0 if no header specifies it.
    pub framing: Framing,
    /// Whether a header specifies the framing.
    pub is_framed: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    headers: Headers,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// How the body is framed; [`Framing::UntilClose`] if no header specifies it.
    pub framing: Framing,
}

/// How a body is framed (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow; the terminating chunk is the only proof that the body is complete.
    Chunked,
    /// All bytes until the connection closes (responses only).
    UntilClose,
}

/// Why a head is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Longer than [`HEAD_LIMIT_BYTES`], or too many lines.
    TooLarge,
    /// Not HTTP/1.x.
    Malformed,
    /// Two framings or an ambiguous one, which would allow request smuggling.
    Framing,
}

impl HeadError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            HeadError::TooLarge => 431,
            HeadError::Malformed | HeadError::Framing => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::TooLarge => "the head is too large",
            HeadError::Malformed => "the head is not HTTP/1.1",
            HeadError::Framing => "the body's length is ambiguous",
        })
    }
}

impl Request {
    /// The value of the header `name` (case-insensitive), if it is present and is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

type Parsed<T> = Result<Option<(T, usize)>, HeadError>;

/// Parses the request head at the start of `bytes`. Returns the request and the length of its head, or `None` if more bytes
/// are needed.
pub fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut parsed = httparse::Request::new(&mut lines);
    let Some(len) = complete(parsed.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::from(&*parsed.headers);
    let target = parsed.path.ok_or(HeadError::Malformed)?;
    let framing = headers.framing()?;
    let path = path_and_query(target);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Request {
        method: parsed.method.ok_or(HeadError::Malformed)?.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        framing: framing.unwrap_or(Framing::Length(0)),
        is_framed: framing.is_some(),
        expects_continue: headers.get("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")),
        headers,
    };
    Ok(Some((request, len)))
}

/// Parses the response head at the start of `bytes`, like [`parse_request`].
pub fn parse_response(bytes: &[u8]) -> Parsed<Response> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut parsed = httparse::Response::new(&mut lines);
    let Some(len) = complete(parsed.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::from(&*parsed.headers);
    let status = parsed.code.ok_or(HeadError::Malformed)?;
    let framing = match status {
        100..=199 | 204 | 304 => Framing::Length(0),
        _ => headers.framing()?.unwrap_or(Framing::UntilClose),
    };
    Ok(Some((Response { status, framing }, len)))
}

fn complete(
    outcome: Result<httparse::Status<usize>, httparse::Error>,
    bytes: &[u8],
) -> Result<Option<usize>, HeadError> {
    match outcome {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_LIMIT_BYTES => Ok(Some(len)),
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_LIMIT_BYTES => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Err(_) => Err(HeadError::Malformed),
    }
}

/// The path and query of a request target in origin or absolute form (RFC 9112, 3.2).
fn path_and_query(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    }
}

/// Header lines: lower-case name and raw value.
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

    /// The framing in the headers, if any. More than one is refused, and so is one that is not exactly `chunked` or a plain
    /// number.
    fn framing(&self) -> Result<Option<Framing>, HeadError> {
        let mut codings = self.all("transfer-encoding");
        let mut lengths = self.all("content-length");
        match (codings.next(), codings.next(), lengths.next(), lengths.next()) {
            (None, _, None, _) => Ok(None),
            (Some(coding), None, None, _) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Framing::Chunked))
            }
            (None, _, Some(length), None) => decimal(length.trim_ascii()).map(Framing::Length).map(Some),
            _ => Err(HeadError::Framing),
        }
    }
}

fn decimal(digits: &[u8]) -> Result<u64, HeadError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Framing);
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(HeadError::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(text: &str) -> Result<Option<Request>, HeadError> {
        parse_request(text.as_bytes()).map(|found| found.map(|(request, _)| request))
    }

    #[test]
    fn the_request_head_of_cdi_is_parsed() {
        let text = "POST /v1beta1/upload HTTP/1.1\r\nHost: localhost:9557\r\nUser-Agent: Go-http-client/1.1\r\n\
                    Transfer-Encoding: chunked\r\nX-Cdi-Content-Type: blockdevice-clone\r\nAccept-Encoding: gzip\r\n\r\n";
        let found = request(text).unwrap().unwrap();
        assert_eq!((found.method.as_str(), found.path.as_str()), ("POST", "/v1beta1/upload"));
        assert_eq!(found.framing, Framing::Chunked);
        assert_eq!(found.header("x-cdi-content-type"), Some("blockdevice-clone"));
    }

    #[test]
    fn a_request_without_framing_differs_from_one_with_an_empty_body() {
        let is_framed = |line: &str| request(&format!("POST / HTTP/1.1\r\n{line}\r\n")).unwrap().unwrap();
        let found = ["", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"].map(is_framed);
        assert_eq!(found.map(|request| request.is_framed), [false, true, true]);
    }

    #[test]
    fn an_incomplete_head_needs_more_bytes() {
        assert_eq!(request("POST / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    }

    #[test]
    fn two_framings_are_refused() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(request(text), Err(HeadError::Framing));
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(request(text), Err(HeadError::Framing));
        let text = "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n";
        assert_eq!(request(text), Err(HeadError::Framing));
    }

    #[test]
    fn a_head_above_the_limit_is_too_large() {
        let text = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LIMIT_BYTES));
        assert_eq!(request(&text), Err(HeadError::TooLarge));
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADER_LIMIT + 1));
        assert_eq!(request(&text), Err(HeadError::TooLarge));
    }

    #[test]
    fn the_query_and_the_authority_are_not_part_of_the_path() {
        let found = request("GET https://pod:8443/metrics?x=1 HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((found.path.as_str(), found.query.as_str()), ("/metrics", "x=1"));
        assert_eq!(request("GET /metrics HTTP/1.1\r\n\r\n").unwrap().unwrap().query, "");
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
