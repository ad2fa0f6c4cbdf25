//! Fields of a 512-byte header block: text, numbers, the checksum.
//!
//! This does not use the number parser of the `tar` crate: that parser drops the high bytes and the sign of base-256
//! numbers, so that a malicious size could pass for a small one.

use tar::Header;

/// Size of a header block. Content is padded to a multiple of it.
pub(crate) const BLOCK_LEN: usize = 512;
/// The same size as a number of stream bytes.
pub(crate) const BLOCK_BYTES: u64 = BLOCK_LEN as u64;

/// The content of a text field: up to the first NUL or the end.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..len]
}

/// The value of a number field: octal digits, or GNU tar's base-256 for larger numbers. An empty field is 0. `None` if
/// it is not a number, or has more than 63 bits.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(0x80 | 0xff) => base_256(field),
        _ => octal(field),
    }
}

/// Writes `value` as octal digits with a final zero byte. A negative number, or one with too many digits, is written as
/// a big-endian two's complement whose first bit is set (GNU's base-256).
pub(crate) fn put_number(field: &mut [u8], value: i128) {
    let digits = field.len() - 1;
    if value < 0 || value >> (3 * digits) != 0 {
        let bytes = value.to_be_bytes();
        field.copy_from_slice(&bytes[bytes.len() - field.len()..]);
        field[0] |= 0x80;
        return;
    }
    field[digits] = 0;
    let mut left = value;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(left & 7).unwrap_or(0);
        left >>= 3;
    }
}

/// Whether the checksum of the header is correct. Some old writers summed signed bytes; like GNU tar, this accepts both
/// sums.
pub(crate) fn checksum_is_right(header: &Header) -> bool {
    /// The checksum field counts as eight spaces.
    const FIELD: std::ops::Range<usize> = 148..156;
    let mut unsigned = 0_i64;
    let mut signed = 0_i64;
    for (at, &byte) in header.as_bytes().iter().enumerate() {
        let byte = if FIELD.contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    number(&header.as_old().cksum).is_some_and(|sum| sum == unsigned || sum == signed)
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
    // Two's complement without the top bit, which only marks the encoding.
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

    fn written<const N: usize>(value: i128) -> [u8; N] {
        let mut field = [0xee; N];
        put_number(&mut field, value);
        field
    }

    #[test]
    fn numbers_are_octal_as_long_as_they_fit() {
        assert_eq!(&written::<8>(0o644), b"0000644\0");
        assert_eq!(&written::<8>(0o7_777_777), b"7777777\0");
        assert_eq!(&written::<12>((8 << 30) - 1), b"77777777777\0");
    }

    #[test]
    fn greater_numbers_are_base_256() {
        assert_eq!(written::<8>(0o10_000_000), [0x80, 0, 0, 0, 0, 0x20, 0, 0]);
        assert_eq!(written::<12>(8 << 30), [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn times_before_1970_are_negative_base_256() {
        assert_eq!(written::<12>(-1), [0xff; 12]);
    }
}
