//! The part of DER that is needed for certificates that rustls has already parsed. Never trusts a length.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const T61_STRING: u8 = 0x14;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed: the version of a certificate.
pub(super) const VERSION: u8 = 0xa0;

/// An element: its tag, its content, and what follows it.
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// The content of the first element of `input`, which must have this tag, and what follows it.
pub(super) fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let found = any_element(input)?;
    (found.tag == tag).then_some((found.content, found.rest))
}

/// The first element of `input`. Lengths of more than two bytes are not supported: the certificates of a clone have none.
pub(super) fn any_element(input: &[u8]) -> Option<Element<'_>> {
    let (&tag, input) = input.split_first()?;
    let (&first, mut input) = input.split_first()?;
    let len = match first {
        0..=0x7f => usize::from(first),
        0x81 | 0x82 => {
            let mut len = 0;
            for _ in 0x80..first {
                let (&byte, rest) = input.split_first()?;
                len = len << 8 | usize::from(byte);
                input = rest;
            }
            len
        }
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(len)?;
    Some(Element { tag, content, rest })
}
