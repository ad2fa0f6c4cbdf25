//! The chunked coding: how the bytes were cut on their way makes no difference.
#![no_main]

use decant_shared::net::http::chunked::{ChunkError, Decoded, Decoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, usize::MAX);
    for step in [1, 7] {
        assert_eq!(decode(bytes, step), whole, "in pieces of {step}");
    }
});

/// The data, and whether the terminating chunk came.
fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), ChunkError> {
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    for mut part in bytes.chunks(step.min(bytes.len().max(1))) {
        while !part.is_empty() && !decoder.is_done() {
            let Decoded { framing_len, data_len } = decoder.next(part)?;
            assert!(framing_len + data_len > 0, "no progress");
            data.extend_from_slice(&part[framing_len..framing_len + data_len]);
            part = &part[framing_len + data_len..];
        }
    }
    Ok((data, decoder.is_done()))
}
