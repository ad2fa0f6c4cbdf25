//! The nanoseconds of a time, in bytes of a GNU header that nobody uses: an extended header for each file, only because of
//! them, would be 1 KiB a file.

use crate::attributes::Moment;

/// What shows that they are there.
const MARK: &[u8] = b"DcNt";
/// Nine decimal digits.
const DIGITS: usize = 9;
/// Where a GNU header is not used by anybody: its last bytes.
const PAD_BYTES: usize = 17;

/// Writes them into the last bytes of a GNU header; nothing if there are none.
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

/// What is in the last bytes of a GNU header; 0 if there is nothing, or nothing of ours.
pub fn get(pad: &[u8; PAD_BYTES]) -> u32 {
    let Some(digits) = pad.strip_prefix(MARK).and_then(|rest| rest.get(..DIGITS)) else { return 0 };
    digits
        .iter()
        .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
        .unwrap_or(0)
}

/// `moment` with what `pad` says.
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
        fn nothing_else_is_taken_for_it(pad in any::<[u8; PAD_BYTES]>()) {
            prop_assert!(get(&pad) < 1_000_000_000);
            let mut marked = pad;
            marked[..MARK.len()].copy_from_slice(MARK);
            prop_assert!(get(&marked) < 1_000_000_000);
        }
    }
}
