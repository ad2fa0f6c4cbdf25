//! Percentages without floating point.

use std::fmt;

/// A percentage from 0.00 to 100.00, in hundredths. Displayed like `12.34`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Percent {
    hundredths: u64,
}

impl Percent {
    /// 100.00
    pub const FULL: Percent = Percent { hundredths: 10_000 };

    /// The maximum of unfinished work: 99.99
    const ALMOST: u64 = Self::FULL.hundredths - 1;

    /// A percentage in hundredths of a percent; more than 10,000 is 100.00.
    pub fn from_hundredths(hundredths: u64) -> Self {
        Self { hundredths: hundredths.min(Self::FULL.hundredths) }
    }

    /// In hundredths of a percent: 0 to 10,000.
    pub fn hundredths(self) -> u64 {
        self.hundredths
    }

    /// The percentage `done_bytes` of `total_bytes` of unfinished work, rounded down: never 100, and 0 if the total is 0.
    pub fn of_unfinished(done_bytes: u64, total_bytes: u64) -> Self {
        let scaled = u128::from(done_bytes) * u128::from(Self::FULL.hundredths);
        let hundredths = scaled.checked_div(u128::from(total_bytes)).unwrap_or(0);
        Self { hundredths: u64::try_from(hundredths).map_or(Self::ALMOST, |found| found.min(Self::ALMOST)) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.hundredths / 100, self.hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_two_decimals() {
        let shown = |hundredths| Percent::from_hundredths(hundredths).to_string();
        assert_eq!([shown(0), shown(5), shown(1234), shown(10_000)], ["0.00", "0.05", "12.34", "100.00"]);
        assert_eq!(shown(u64::MAX), "100.00");
    }

    #[test]
    fn unfinished_work_is_rounded_down_and_never_100() {
        let shown = |done, total| Percent::of_unfinished(done, total).to_string();
        assert_eq!(shown(2, 3), "66.66");
        assert_eq!(shown(3, 3), "99.99");
        assert_eq!(shown(4, 3), "99.99");
        assert_eq!(shown(9, 0), "0.00");
        assert_eq!(shown(u64::MAX - 1, u64::MAX), "99.99");
        assert_eq!(shown(u64::MAX, 1), "99.99");
    }
}
