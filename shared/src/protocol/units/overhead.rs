//! Filesystem overhead: the part of a volume that its filesystem uses itself (docs/protocol.md section 4.8).

use std::fmt;
use std::str::FromStr;

use super::decimal::Decimal;

const MIB_BYTES: u128 = 1 << 20;
const BILLION: u64 = 1_000_000_000;

/// The space that a filesystem needs in addition to its content, as a fraction of the content: 0 <= overhead < 1, exact to
/// nine decimals.
///
/// CDI writes it as a decimal string, like `0.06`; the API allows three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Overhead {
    billionths: u64,
}

/// Why a string is not an overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverheadError {
    /// Not an unsigned decimal number.
    Malformed,
    /// 1 or more.
    TooLarge,
    /// More than nine decimals.
    TooPrecise,
}

/// How many bytes of content fit into a filesystem volume of `size_bytes`: `size_bytes` / (1 + `overhead`), rounded up to a
/// byte and then down to 1 MiB (docs/protocol.md section 4.8, "usable").
pub fn usable_bytes(overhead: Overhead, size_bytes: u64) -> u64 {
    let billion = u128::from(BILLION);
    let content = (u128::from(size_bytes) * billion).div_ceil(billion + u128::from(overhead.billionths));
    let whole_mib = content - content % MIB_BYTES;
    // Never above size_bytes, so the conversion cannot fail.
    u64::try_from(whole_mib).unwrap_or(size_bytes)
}

/// The size that a filesystem volume needs for `content_bytes`: rounded up to 1 MiB, times (1 + `overhead`), rounded up
/// (docs/protocol.md section 4.8, "required").
pub fn required_bytes(overhead: Overhead, content_bytes: u64) -> u64 {
    let billion = u128::from(BILLION);
    let whole = u128::from(content_bytes).div_ceil(MIB_BYTES) * MIB_BYTES;
    let needed = (whole * (billion + u128::from(overhead.billionths))).div_ceil(billion);
    u64::try_from(needed).unwrap_or(u64::MAX)
}

impl Overhead {
    /// No overhead, as for block volumes and the storage class "" (docs/protocol.md section 4.8).
    pub const NONE: Overhead = Overhead { billionths: 0 };
}

impl FromStr for Overhead {
    type Err = OverheadError;

    fn from_str(text: &str) -> Result<Self, OverheadError> {
        let (number, "") = Decimal::take(text).ok_or(OverheadError::Malformed)? else {
            return Err(OverheadError::Malformed);
        };
        let scaled = number.times_ten_to(9).ok_or(OverheadError::TooLarge)?;
        match scaled.ceil() {
            Some(billionths) if billionths < BILLION && scaled.is_whole() => Ok(Self { billionths }),
            // A value just below 1 rounds up to 1; its error is `TooPrecise`, not `TooLarge`.
            Some(billionths) if billionths <= BILLION && !scaled.is_whole() => Err(OverheadError::TooPrecise),
            _ => Err(OverheadError::TooLarge),
        }
    }
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.billionths == 0 {
            return f.write_str("0");
        }
        let decimals = format!("{:09}", self.billionths);
        write!(f, "0.{}", decimals.trim_end_matches('0'))
    }
}

impl fmt::Display for OverheadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OverheadError::Malformed => "not a decimal number such as 0.06",
            OverheadError::TooLarge => "a filesystem overhead must be below 1",
            OverheadError::TooPrecise => "a filesystem overhead has at most nine decimals",
        })
    }
}

impl std::error::Error for OverheadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn overhead(text: &str) -> Overhead {
        text.parse().unwrap()
    }

    #[test]
    fn the_required_size_of_known_contents() {
        assert_eq!(required_bytes(overhead("0.06"), 1 << 30), 1_138_166_334);
        assert_eq!(required_bytes(Overhead::NONE, 1), MIB);
    }

    proptest! {
        #[test]
        fn content_fits_into_its_required_size(content in 0_u64..1 << 50, billionths in 0_u64..BILLION) {
            let overhead = Overhead { billionths };
            prop_assert!(usable_bytes(overhead, required_bytes(overhead, content)) >= content);
        }
    }

    #[test]
    fn only_numbers_from_0_to_below_1_are_overheads() {
        for text in ["0", "0.0", "0.06", "0.055", ".5", "0.999999999", "0.0600000000000"] {
            assert!(text.parse::<Overhead>().is_ok(), "{text}");
        }
        for text in ["", "-0.1", "+0.1", "0.06 ", "6%", "1e-2", "0,06"] {
            assert_eq!(text.parse::<Overhead>(), Err(OverheadError::Malformed), "{text}");
        }
        for text in ["1", "1.0", "1.0000000001", "99999999999999999999999"] {
            assert_eq!(text.parse::<Overhead>(), Err(OverheadError::TooLarge), "{text}");
        }
        for text in ["0.0000000001", "0.9999999999"] {
            assert_eq!(text.parse::<Overhead>(), Err(OverheadError::TooPrecise), "{text}");
        }
    }

    #[test]
    fn without_overhead_every_whole_mebibyte_is_usable() {
        assert_eq!(usable_bytes(Overhead::NONE, 5 * MIB + 1), 5 * MIB);
        assert_eq!(usable_bytes(Overhead::NONE, MIB - 1), 0);
        assert_eq!(usable_bytes(Overhead::NONE, u64::MAX), u64::MAX - u64::MAX % MIB);
    }

    #[test]
    fn the_usable_size_with_the_default_overhead() {
        // 1 GiB / 1.06 = 1_012_964_928.3 bytes = 966.04 MiB.
        assert_eq!(usable_bytes(overhead("0.06"), 1 << 30), 966 * MIB);
    }

    #[test]
    fn an_exact_quotient_is_not_rounded() {
        assert_eq!(usable_bytes(overhead("0.06"), 106 * MIB), 100 * MIB);
        assert_eq!(usable_bytes(overhead("0.1"), 11 * MIB), 10 * MIB);
    }

    #[test]
    fn the_quotient_is_rounded_up_to_a_byte_and_then_down_to_a_mebibyte() {
        // One byte less than 106 MiB: the quotient is 100 MiB - 0.94 bytes, which rounds up to 100 MiB.
        assert_eq!(usable_bytes(overhead("0.06"), 106 * MIB - 1), 100 * MIB);
        assert_eq!(usable_bytes(overhead("0.06"), 106 * MIB - 2), 99 * MIB);
    }

    proptest! {
        #[test]
        fn an_overhead_survives_display_and_parse(billionths in 0..BILLION) {
            let overhead = Overhead { billionths };
            prop_assert_eq!(overhead.to_string().parse(), Ok(overhead));
        }

        #[test]
        fn usable_is_whole_mebibytes_within_the_volume(billionths in 0..BILLION, size_bytes: u64) {
            let usable = usable_bytes(Overhead { billionths }, size_bytes);
            prop_assert_eq!(usable % MIB, 0);
            prop_assert!(usable <= size_bytes);
            // Less than 1 MiB of content is lost by rounding.
            let needed = (u128::from(usable) + MIB_BYTES) * u128::from(BILLION + billionths);
            prop_assert!(needed > u128::from(size_bytes) * u128::from(BILLION));
        }

        #[test]
        fn a_larger_overhead_never_leaves_a_larger_size(a in 0..BILLION, b in 0..BILLION, size_bytes: u64) {
            let usable = |billionths| usable_bytes(Overhead { billionths }, size_bytes);
            prop_assert!(usable(a.min(b)) >= usable(a.max(b)));
        }
    }
}
