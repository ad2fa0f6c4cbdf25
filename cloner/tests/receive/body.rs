//! Requests: valid ones, and the parts to build invalid ones.

use std::io::Write;

use snap::write::FrameEncoder;

pub(crate) const TREE: &str = "filesystem-clone";
pub(crate) const IMAGE: &str = "blockdevice-clone";

/// The start of every snappy stream.
pub(crate) const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// The head of a clone's request; `more` are further header lines, each with its line end.
pub(crate) fn head(content: &str, more: &str) -> Vec<u8> {
    head_for("POST", "/v1beta1/upload", &format!("x-cdi-content-type: {content}\r\n{more}"))
}

pub(crate) fn head_for(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: target\r\nTransfer-Encoding: chunked\r\n{headers}\r\n")
        .into_bytes()
}

/// The stream in snappy's framing, as CDI's cloner makes it.
pub(crate) fn frames(stream: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(Vec::new());
    encoder.write_all(stream).unwrap();
    encoder.into_inner().unwrap()
}

/// One frame (or more, for more than 64 KiB) without the identifier.
pub(crate) fn frame(stream: &[u8]) -> Vec<u8> {
    frames(stream).split_off(IDENTIFIER.len())
}

/// One chunk of a body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A body in chunks of 32 KiB, as Go cuts it, with its terminating chunk.
pub(crate) fn chunked(bytes: &[u8]) -> Vec<u8> {
    let chunks: Vec<u8> = bytes.chunks(32 << 10).flat_map(chunk).collect();
    [chunks.as_slice(), b"0\r\n\r\n"].concat()
}

/// A whole good request that carries `stream`.
pub(crate) fn upload(content: &str, stream: &[u8]) -> Vec<u8> {
    upload_with(content, "", stream)
}

/// The same with further header lines.
pub(crate) fn upload_with(content: &str, more: &str, stream: &[u8]) -> Vec<u8> {
    [head(content, more), chunked(&frames(stream))].concat()
}
