//! The head of an upload, and the limits of its phases.

use std::time::Duration;

use decant_shared::protocol::cdi::{
    ATTRIBUTES_HEADER, CONTENT_TYPE_HEADER, ContentType, LENGTH_HEADER, RESUME_HEADER, STREAM_HEADER,
};
use decant_shared::protocol::stream_id::StreamId;

use crate::send::url::UploadUrl;

/// How long each phase of an upload may take without progress.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Connecting to one address.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// A write that sends no byte. A target on a slow disk stops reading while it writes back.
    pub stall: Duration,
    /// From the last byte to the answer: the target syncs its disk in that time.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            stall: Duration::from_secs(300),
            answer: Duration::from_secs(3600),
        }
    }
}

/// An upload, apart from its body.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Where the upload goes.
    pub url: &'a UploadUrl,
    /// What the stream is.
    pub content: ContentType,
    /// Logical bytes of the stream, if they are known in advance.
    pub length_bytes: Option<u64>,
    /// For a Decant target: how many segments of the content it already holds.
    pub resume: Option<usize>,
    /// For a Decant target: the stream holds all attributes.
    pub has_attributes: bool,
    /// For a Decant target: the upload is one of several that carry a clone together.
    pub stream: Option<StreamId>,
}

impl Request<'_> {
    /// Whether the target is Decant.
    pub(super) fn is_for_decant(&self) -> bool {
        self.resume.is_some()
    }

    /// Whether this upload leads other connections of the same clone.
    pub(super) fn leads(&self) -> bool {
        self.stream.is_some_and(StreamId::is_leader)
    }

    /// The head of the request (docs/protocol.md section 1.8).
    pub(super) fn head(&self) -> String {
        let length = self.length_bytes.map_or(String::new(), |len| format!("{LENGTH_HEADER}: {len}\r\n"));
        let resume = self.resume.map_or(String::new(), |count| format!("{RESUME_HEADER}: {count}\r\n"));
        let attributes =
            if self.has_attributes { format!("{ATTRIBUTES_HEADER}: 1\r\n") } else { String::new() };
        let stream = match self.stream {
            Some(stream) if stream.is_leader() => {
                format!("{STREAM_HEADER}: {stream}\r\nExpect: 100-continue\r\n")
            }
            Some(stream) => format!("{STREAM_HEADER}: {stream}\r\n"),
            None => String::new(),
        };
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: decant/{}\r\nTransfer-Encoding: chunked\r\n\
             {CONTENT_TYPE_HEADER}: {}\r\n{length}{resume}{attributes}{stream}\r\n",
            self.url.path,
            self.url.authority(),
            env!("CARGO_PKG_VERSION"),
            self.content,
        )
    }
}
