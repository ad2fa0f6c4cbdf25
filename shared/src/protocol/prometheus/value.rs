//! Formats sample values.

use std::fmt;
use std::time::Duration;

use crate::protocol::progress::Percent;

/// The value of a sample: a number >= 0 with a fixed number of decimals.
///
/// It is never formatted with an exponent: the patterns of CDI's controllers would read `6.1e-06` as 6.1
/// (docs/protocol.md section 1.12 and docs/migrate-from-cdi.md row 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleValue {
    amount: u64,
    decimals: u8,
}

impl SampleValue {
    /// `amount` times ten to the power -`decimals`: `fixed(1234, 2)` is 12.34.
    pub fn fixed(amount: u64, decimals: u8) -> Self {
        Self { amount, decimals }
    }
}

impl From<u64> for SampleValue {
    /// A whole number, formatted without a decimal point.
    fn from(amount: u64) -> Self {
        Self::fixed(amount, 0)
    }
}

impl From<Percent> for SampleValue {
    /// From 0.00 to 100.00, as CDI counts its progress (docs/protocol.md section 1.13).
    fn from(percent: Percent) -> Self {
        Self::fixed(percent.hundredths(), 2)
    }
}

impl From<Duration> for SampleValue {
    /// Seconds, the unit that Prometheus recommends, with millisecond precision.
    fn from(duration: Duration) -> Self {
        Self::fixed(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), 3)
    }
}

impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        let digits = format!("{:0width$}", self.amount, width = decimals + 1);
        match digits.split_at(digits.len() - decimals) {
            (whole, "") => f.write_str(whole),
            (whole, fraction) => write!(f, "{whole}.{fraction}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_no_decimal_point() {
        assert_eq!(SampleValue::from(0).to_string(), "0");
        assert_eq!(SampleValue::from(u64::MAX).to_string(), "18446744073709551615");
    }

    #[test]
    fn the_number_of_decimals_is_fixed() {
        assert_eq!(SampleValue::fixed(1234, 2).to_string(), "12.34");
        assert_eq!(SampleValue::fixed(10_000, 2).to_string(), "100.00");
        assert_eq!(SampleValue::fixed(0, 2).to_string(), "0.00");
        assert_eq!(SampleValue::from(Duration::from_micros(1_500_999)).to_string(), "1.500");
    }

    #[test]
    fn small_values_have_no_exponent() {
        assert_eq!(SampleValue::fixed(6, 9).to_string(), "0.000000006");
        assert_eq!(SampleValue::fixed(1, u8::MAX).to_string().len(), 257);
    }
}
