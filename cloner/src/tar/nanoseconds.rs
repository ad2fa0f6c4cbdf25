//! The nanoseconds of a modification time, in the unused bytes of a GNU header. An extended header only for this would
//! take 1 KiB per file.

use crate::attributes::Moment;

/// The first unused bytes, if nanoseconds follow.
const MARK: &[u8] = b"DcNt";
/// Nine decimal digits.
const DIGITS: usize = 9;
/// The length of the unused bytes at the end of a GNU header.
const PAD_BYTES: usize = 17;

/// Writes `nanoseconds` into the last bytes of a GNU header. Writes nothing if they are 0.
pub fn put(pad: &mut [u8; PAD_BYTES], mut nanoseconds: u32) {
    if nanoseconds == 0 {
        return;
    }
    pad[..MARK.len()].copy_from_slice(MARK);
    for digit in pad[MARK.len()..MARK.len() + DIGITS].iter_mut().rev() {
        *digit = b'0' + u8::try_from(nanoseconds % 10).unwrap_or(0);
        nanoseconds /= 10;
    }
}

/// The nanoseconds in the last bytes of a GNU header; 0 if Decant wrote none there.
pub fn get(pad: &[u8; PAD_BYTES]) -> u32 {
    let Some(digits) = pad.strip_prefix(MARK).and_then(|rest| rest.get(..DIGITS)) else { return 0 };
    digits
        .iter()
        .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
        .unwrap_or(0)
}

/// `moment` with the nanoseconds in `pad`.
pub fn exact(moment: Moment, pad: &[u8; PAD_BYTES]) -> Moment {
    Moment { nanoseconds: get(pad), ..moment }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(nanoseconds in 0..1_000_000_000_u32) {
            let mut pad = [0; PAD_BYTES];
            put(&mut pad, nanoseconds);
            prop_assert_eq!(get(&pad), nanoseconds);
        }

        #[test]
        fn other_bytes_are_never_invalid_nanoseconds(pad in any::<[u8; PAD_BYTES]>()) {
            prop_assert!(get(&pad) < 1_000_000_000);
            let mut marked = pad;
            marked[..MARK.len()].copy_from_slice(MARK);
            prop_assert!(get(&marked) < 1_000_000_000);
        }
    }
}
