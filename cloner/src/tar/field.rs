//! Fields of a 512-byte header block: text, numbers, the checksum.
//!
//! The tar crate's own number parser is not used: it drops the high bytes and the sign of base-256 numbers,
//! so that a hostile size could pass for a small one.

use tar::Header;

/// Size of a header block, and what content is padded to, in bytes.
pub(crate) const BLOCK_BYTES: usize = 512;

/// A text field: up to the first NUL or the end.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..len]
}

/// A number field: octal digits, or base-256 as GNU tar writes what does not fit. An empty field is 0.
/// `None`: no number, or beyond 63 bits.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(0x80 | 0xff) => base_256(field),
        _ => octal(field),
    }
}

/// Whether the header's checksum is right. Some old writers summed signed bytes; GNU tar takes both, so do we.
pub(crate) fn checksum_is_right(header: &Header) -> bool {
    /// The checksum field counts as eight spaces.
    const FIELD: std::ops::Range<usize> = 148..156;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (at, &byte) in header.as_bytes().iter().enumerate() {
        let byte = if FIELD.contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    number(&header.as_old().cksum).is_some_and(|told| told == unsigned || told == signed)
}

fn octal(field: &[u8]) -> Option<i64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let len = digits.iter().position(is_blank).unwrap_or(digits.len());
    digits[..len].iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // Two's complement without the topmost bit, which only marks the encoding.
    let start = i64::from(first & 0x3f) - i64::from(first & 0x40);
    rest.iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_may_be_padded_on_both_sides() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777"), Some(0o77_777_777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"12x"), None);
    }

    #[test]
    fn base_256_keeps_sign_and_refuses_64_bits() {
        assert_eq!(number(&[0x80, 0, 0, 0, 2, 0, 0, 0]), Some(1 << 25));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        let mut large = [0; 12];
        (large[0], large[4]) = (0x80, 0x80);
        assert_eq!(number(&large), None, "2^63");
        large[4] = 0x7f;
        assert_eq!(number(&large), Some(0x7f << 56));
    }
}
