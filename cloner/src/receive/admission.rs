//! Decides which requests are admitted: the order of docs/protocol.md section 2.4 as one function.

use decant_shared::net::http::head::Request;
use decant_shared::protocol::cdi::{
    ATTRIBUTES_HEADER, CONTENT_TYPE_HEADER, ContentType, LENGTH_HEADER, RESUME_HEADER, SESSION_PATH,
    STREAM_HEADER, is_async_path, is_other_upload_path, is_upload_path,
};
use decant_shared::protocol::stream_id::StreamId;

use crate::receive::transfer_state::TransferState;

/// What is known about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerIdentity<'a> {
    /// No TLS.
    Plain,
    /// TLS, but no certificate.
    Anonymous,
    /// A verified certificate with this common name; `None` if it does not have exactly one common name.
    Named(Option<&'a str>),
}

/// A clone that may be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmittedUpload {
    /// What the body is.
    pub content: ContentType,
    /// Logical bytes that the sender announced.
    pub announced_bytes: Option<u64>,
    /// From a Decant source: the number of segments that the target holds and the source does not send again.
    pub resume: Option<usize>,
    /// The sender is Decant and sends all attributes.
    pub has_attributes: bool,
    /// The upload leads other connections, which carry parts of the clone.
    pub stream: Option<StreamId>,
}

/// What the target does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Read its body as a clone.
    Upload(AdmittedUpload),
    /// Read its body as a part of the clone that another connection leads.
    Join(StreamId),
    /// Answer with the capabilities of this target.
    Greet,
    /// Answer with the progress of this target and the digests that it holds.
    Report,
    /// Answer with this status and text, without reading the body.
    Answer(u16, &'static str),
}

/// Decides about a request. `client_name` is the common name that a sender's certificate must have.
pub fn admit(
    request: &Request,
    peer: PeerIdentity<'_>,
    client_name: &str,
    state: &TransferState,
) -> Admission {
    use Admission::Answer;
    let path = request.path.as_str();
    let method = request.method.as_str();
    if path == "/healthz" {
        return Answer(200, "OK");
    }
    if method == "HEAD" && is_async_path(path) {
        return Answer(200, "");
    }
    let question = match method {
        "OPTIONS" if is_upload_path(path) => Some(Admission::Greet),
        "GET" if path == SESSION_PATH => Some(Admission::Report),
        _ => None,
    };
    let is_upload = (is_upload_path(path) || is_other_upload_path(path)) && method == "POST";
    if !is_upload && question.is_none() {
        return Answer(404, "");
    }
    match peer {
        PeerIdentity::Plain => return Answer(401, "uploads need TLS"),
        PeerIdentity::Anonymous => return Answer(401, "uploads need a client certificate"),
        PeerIdentity::Named(name) if name != Some(client_name) => {
            return Answer(401, "the client certificate has another common name than CLIENT_NAME");
        }
        PeerIdentity::Named(_) => {}
    }
    if let Some(question) = question {
        return question;
    }
    let content = request.header(CONTENT_TYPE_HEADER).and_then(|value| value.parse::<ContentType>().ok());
    let content = match (content, is_other_upload_path(path)) {
        (Some(_), true) if is_async_path(path) => {
            return Answer(500, "Saving stream failed: async clone not supported");
        }
        (Some(content), false) => content,
        _ => return Answer(501, "this target receives clones only, no ordinary uploads"),
    };
    if !request.is_framed {
        // Without either header a broken connection looks like the end of the body: an incomplete clone would pass for
        // a complete one.
        return Answer(411, "an upload needs Transfer-Encoding: chunked or Content-Length");
    }
    let stream = match request.header(STREAM_HEADER).map(str::parse::<StreamId>) {
        Some(Err(())) => return Answer(400, "x-decant-stream is not valid"),
        Some(Ok(stream)) if !stream.is_leader() => return Admission::Join(stream),
        stream => stream.and_then(Result::ok),
    };
    match state {
        TransferState::Busy(_) => Answer(503, "another transfer is running"),
        TransferState::Done => Answer(409, "the transfer is done"),
        TransferState::Leaving => Answer(503, "the deadline has passed"),
        TransferState::Idle { .. } => match request.header(LENGTH_HEADER).map(str::parse) {
            Some(Err(_)) => Answer(400, "x-decant-length is not a number of bytes"),
            announced => Admission::Upload(AdmittedUpload {
                content,
                announced_bytes: announced.and_then(Result::ok),
                resume: request.header(RESUME_HEADER).and_then(|count| count.parse().ok()),
                has_attributes: request.header(ATTRIBUTES_HEADER).is_some(),
                stream,
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::transfer_state::CurrentTransfer;
    use decant_shared::net::http::head::parse_request;

    const NAME: &str = "ns/src-ns/tgt";
    const IDLE: &TransferState = &TransferState::Idle { held: None };

    fn ask(line: &str, content: &str, peer: PeerIdentity<'_>, state: &TransferState) -> Admission {
        let framing = if line.starts_with("POST") { "Transfer-Encoding: chunked\r\n" } else { "" };
        let text = format!("{line} HTTP/1.1\r\n{framing}{content}\r\n");
        admit(&parse_request(text.as_bytes()).unwrap().unwrap().0, peer, NAME, state)
    }

    fn status(admission: &Admission) -> u16 {
        match admission {
            Admission::Answer(status, _) => *status,
            _ => 200,
        }
    }

    #[test]
    fn the_contracts_order_of_refusals_holds() {
        let clone = "x-cdi-content-type: filesystem-clone\r\n";
        let good = PeerIdentity::Named(Some(NAME));
        let idle = IDLE;
        let busy = &TransferState::Busy(CurrentTransfer::default());
        let done = &TransferState::Done;
        let leaving = &TransferState::Leaving;
        let post = "POST /v1beta1/upload";
        for (line, content, peer, state, wanted) in [
            ("GET /healthz", "", PeerIdentity::Plain, busy, 200),
            ("PUT /healthz", "", PeerIdentity::Anonymous, done, 200),
            ("HEAD /v1beta1/upload-async", "", PeerIdentity::Anonymous, idle, 200),
            ("GET /v1beta1/upload", clone, good, idle, 404),
            ("POST /elsewhere", clone, good, idle, 404),
            (post, clone, PeerIdentity::Anonymous, busy, 401),
            (post, clone, PeerIdentity::Plain, idle, 401),
            (post, clone, PeerIdentity::Named(Some("ns/other")), done, 401),
            (post, clone, PeerIdentity::Named(None), idle, 401),
            (post, clone, good, busy, 503),
            (post, clone, good, done, 409),
            (post, clone, good, leaving, 503),
            (post, "", good, idle, 501),
            (post, "x-cdi-content-type: kubevirt\r\n", good, idle, 501),
            ("POST /v1beta1/upload-form", "", good, idle, 501),
            ("POST /v1beta1/upload-async", clone, good, idle, 500),
            ("POST /v1beta1/upload-async", "", good, idle, 501),
            (post, clone, good, idle, 200),
            ("POST /v1alpha1/upload-archive", clone, good, idle, 200),
            ("OPTIONS /v1beta1/upload", "", good, busy, 200),
            ("OPTIONS /v1beta1/upload", "", PeerIdentity::Anonymous, idle, 401),
            ("GET /v1/session", "", good, busy, 200),
            ("GET /v1/session", "", PeerIdentity::Named(Some("ns/other")), idle, 401),
            ("POST /v1/session", "", good, idle, 404),
        ] {
            assert_eq!(
                status(&ask(line, content, peer, state)),
                wanted,
                "{line} {content:?} {peer:?} {state:?}"
            );
        }
    }

    #[test]
    fn an_upload_without_body_framing_is_refused() {
        let ask = |framing: &str, peer, stream: &str| {
            let head = format!("{framing}x-cdi-content-type: filesystem-clone\r\n{stream}");
            let text = format!("POST /v1beta1/upload HTTP/1.1\r\n{head}\r\n");
            let request = parse_request(text.as_bytes()).unwrap().unwrap().0;
            status(&admit(&request, peer, NAME, IDLE))
        };
        let good = PeerIdentity::Named(Some(NAME));
        for stream in ["", "x-decant-stream: 7 0/3\r\n", "x-decant-stream: 7 1/3\r\n"] {
            assert_eq!(ask("", good, stream), 411);
            assert_eq!(ask("", PeerIdentity::Anonymous, stream), 401, "a stranger gets no details");
            assert_eq!(ask("Transfer-Encoding: chunked\r\n", good, stream), 200);
            assert_eq!(ask("Content-Length: 0\r\n", good, stream), 200);
        }
    }

    #[test]
    fn an_announced_length_is_read_and_a_wrong_one_refused() {
        let good = PeerIdentity::Named(Some(NAME));
        let head = "x-cdi-content-type: blockdevice-clone\r\nx-decant-length: 77\r\n";
        assert_eq!(
            ask("POST /v1beta1/upload", head, good, IDLE),
            Admission::Upload(AdmittedUpload {
                content: ContentType::Block,
                announced_bytes: Some(77),
                resume: None,
                has_attributes: false,
                stream: None,
            })
        );
        let head = "x-cdi-content-type: blockdevice-clone\r\nx-decant-length: 7x\r\n";
        assert_eq!(status(&ask("POST /v1beta1/upload", head, good, IDLE)), 400);
    }

    #[test]
    fn only_the_first_of_several_connections_needs_an_idle_target() {
        let good = PeerIdentity::Named(Some(NAME));
        let busy = &TransferState::Busy(CurrentTransfer::default());
        let ask = |stream, peer, state: &TransferState| {
            let head = format!("x-cdi-content-type: blockdevice-clone\r\nx-decant-stream: {stream}\r\n");
            ask("POST /v1beta1/upload", &head, peer, state)
        };
        assert_eq!(status(&ask("7 0/3", good, busy)), 503);
        assert!(matches!(
            ask("7 0/3", good, IDLE),
            Admission::Upload(AdmittedUpload { stream: Some(_), .. })
        ));
        let follower = StreamId { attempt: 7, index: 1, count: 3 };
        assert_eq!(ask("7 1/3", good, busy), Admission::Join(follower));
        assert_eq!(status(&ask("7 1/3", PeerIdentity::Anonymous, busy)), 401);
        assert_eq!(status(&ask("7 3/3", good, IDLE)), 400);
    }
}
