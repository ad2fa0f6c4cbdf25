//! Parses Kubernetes quantities (`1Gi`, `1.5G`, `500m`, `1e9`) as a number of bytes.

use std::fmt;

use super::decimal::Decimal;

/// Why a string is not a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantityError {
    /// Not a quantity.
    Malformed,
    /// A minus sign.
    Negative,
    /// More than 2^64-1 bytes.
    TooLarge,
}

/// The number of bytes of a Kubernetes quantity, rounded up to a whole byte.
///
/// The syntax is that of the Kubernetes API (`resource.Quantity`): an optional sign, a decimal number, then nothing, one of
/// `n u m k M G T P E`, one of `Ki Mi Gi Ti Pi Ei`, or `e`/`E` with an integer exponent. Unlike in Kubernetes, a value that
/// does not fit is an error and is not truncated.
pub fn parse_quantity(text: &str) -> Result<u64, QuantityError> {
    if text.starts_with('-') {
        return Err(QuantityError::Negative);
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (number, suffix) = Decimal::take(unsigned).ok_or(QuantityError::Malformed)?;
    let scale = Scale::parse(suffix).ok_or(QuantityError::Malformed)?;
    scale.apply(number).and_then(|bytes| bytes.ceil()).ok_or(QuantityError::TooLarge)
}

/// The factor of a suffix.
enum Scale {
    /// Ten to this power.
    Ten(i64),
    /// 1024 to this power.
    Binary(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "n" => Scale::Ten(-9),
            "u" => Scale::Ten(-6),
            "m" => Scale::Ten(-3),
            "" => Scale::Ten(0),
            "k" => Scale::Ten(3),
            "M" => Scale::Ten(6),
            "G" => Scale::Ten(9),
            "T" => Scale::Ten(12),
            "P" => Scale::Ten(15),
            "E" => Scale::Ten(18),
            "Ki" => Scale::Binary(1),
            "Mi" => Scale::Binary(2),
            "Gi" => Scale::Binary(3),
            "Ti" => Scale::Binary(4),
            "Pi" => Scale::Binary(5),
            "Ei" => Scale::Binary(6),
            // A single `E` means exa, so an exponent is always longer.
            _ => Scale::Ten(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
        })
    }

    fn apply(&self, mut number: Decimal) -> Option<Decimal> {
        match *self {
            Scale::Ten(exponent) => number.times_ten_to(exponent),
            Scale::Binary(steps) => {
                for _ in 0..steps {
                    number = number.times_1024();
                }
                Some(number)
            }
        }
    }
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QuantityError::Malformed => "not a quantity such as 10Gi, 1.5G or 1e9",
            QuantityError::Negative => "a number of bytes cannot be negative",
            QuantityError::TooLarge => "more than 2^64-1 bytes",
        })
    }
}

impl std::error::Error for QuantityError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_suffix_has_its_factor() {
        let decimal = ["", "k", "M", "G", "T", "P", "E"];
        for (power, suffix) in (0_u32..).zip(decimal) {
            assert_eq!(parse_quantity(&format!("7{suffix}")), Ok(7 * 1000_u64.pow(power)), "{suffix}");
        }
        let binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        for (power, suffix) in (0_u32..).zip(binary) {
            assert_eq!(parse_quantity(&format!("7{suffix}")), Ok(7 << (10 * power)), "{suffix}");
        }
    }

    #[test]
    fn an_exponent_is_not_parsed_as_exa() {
        assert_eq!(parse_quantity("1e9"), Ok(1_000_000_000));
        assert_eq!(parse_quantity("1E9"), Ok(1_000_000_000));
        assert_eq!(parse_quantity("1E+3"), Ok(1000));
        assert_eq!(parse_quantity("1500e-2"), Ok(15));
        assert_eq!(parse_quantity("1E"), Ok(1_000_000_000_000_000_000));
    }

    #[test]
    fn a_fraction_of_a_byte_is_rounded_up() {
        assert_eq!(parse_quantity("1.5Gi"), Ok(3 << 29));
        assert_eq!(parse_quantity(".5Ki"), Ok(512));
        assert_eq!(parse_quantity("5."), Ok(5));
        assert_eq!(parse_quantity("1500m"), Ok(2));
        assert_eq!(parse_quantity("1m"), Ok(1));
        assert_eq!(parse_quantity("0.1Ki"), Ok(103));
        assert_eq!(parse_quantity("0m"), Ok(0));
    }

    #[test]
    fn an_invalid_quantity_is_refused_with_its_reason() {
        for text in
            ["", "Gi", "1 Gi", " 1", "1gi", "1K", "1Gib", "0x10", "1e", "1e1.5", "1e+-3", "1.2.3", "+"]
        {
            assert_eq!(parse_quantity(text), Err(QuantityError::Malformed), "{text:?}");
        }
        assert_eq!(parse_quantity("-1"), Err(QuantityError::Negative));
        for text in ["16Ei", "18446744073709551616", "18446744073709551615.5", "1e9223372036854775807"] {
            assert_eq!(parse_quantity(text), Err(QuantityError::TooLarge), "{text:?}");
        }
        assert_eq!(parse_quantity("18446744073709551615"), Ok(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_plain_number_is_parsed_as_bytes(bytes: u64) {
            prop_assert_eq!(parse_quantity(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn thousandths_are_parsed_exactly(thousandths in 0..u64::MAX / 1024) {
            prop_assert_eq!(parse_quantity(&format!("{thousandths}m")), Ok(thousandths.div_ceil(1000)));
            let text = format!("{}.{:03}Ki", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(parse_quantity(&text), Ok((thousandths * 1024).div_ceil(1000)));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, near in "[+-]?[0-9.]{0,30}[eEkKMGTPnum]?[i+-]?[0-9]{0,25}") {
            let _ = parse_quantity(&text);
            let _ = parse_quantity(&near);
        }
    }
}
