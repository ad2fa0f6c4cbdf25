//! Heads of requests and responses: a head that is accepted ends where it says, and means the same when what
//! follows it is not there yet.
#![no_main]

use std::fmt::Debug;

use decant_shared::net::http::head::{HeadError, parse_request, parse_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes, parse_request);
    check(bytes, parse_response);
});

type Parsed<T> = Result<Option<(T, usize)>, HeadError>;

fn check<T: PartialEq + Debug>(bytes: &[u8], parse: fn(&[u8]) -> Parsed<T>) {
    let Ok(Some((head, len))) = parse(bytes) else { return };
    assert!(len <= bytes.len());
    assert_eq!(parse(&bytes[..len]), Ok(Some((head, len))));
    assert!(!matches!(parse(&bytes[..len - 1]), Ok(Some((_, end))) if end == len));
}
