//! Formats sizes, rates and durations for people; parses rates, Kubernetes quantities and filesystem overheads.
//!
//! All arithmetic is on integers, and nothing is rounded up for display: a clone must not look larger, faster or further
//! along than it is.

mod decimal;
mod overhead;
mod quantity;
mod rate;

use std::fmt;
use std::time::Duration;

pub use overhead::{Overhead, OverheadError, required_bytes, usable_bytes};
pub use quantity::{QuantityError, parse_quantity};
pub use rate::RateError;

/// A number of bytes. Displayed in the largest binary unit that fits, with two decimals, rounded down: `512 B`, `1.50 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// A number of bytes per second. Displayed like `123.4 MiB/s`, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rate(pub u64);

/// A number of seconds. Displayed like `5s`, `1m23s`, `2h05m00s`; hours may exceed 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub u64);

impl From<Duration> for Seconds {
    /// The whole seconds of `duration`.
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = Scaled::of(self.0);
        match scaled.unit {
            "B" => write!(f, "{} B", scaled.whole),
            unit => write!(f, "{}.{:02} {unit}", scaled.whole, scaled.thousandths / 10),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = Scaled::of(self.0);
        match scaled.unit {
            "B" => write!(f, "{} B/s", scaled.whole),
            unit => write!(f, "{}.{} {unit}/s", scaled.whole, scaled.thousandths / 100),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0 / 3600;
        let minutes = self.0 / 60 % 60;
        let seconds = self.0 % 60;
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds:02}s"),
            _ => write!(f, "{hours}h{minutes:02}m{seconds:02}s"),
        }
    }
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes in its largest binary unit.
struct Scaled {
    whole: u64,
    thousandths: u64,
    unit: &'static str,
}

impl Scaled {
    fn of(bytes: u64) -> Self {
        let mut one = 1_u64;
        let mut unit = UNITS[0];
        for larger in &UNITS[1..] {
            if bytes / one < 1024 {
                break;
            }
            one *= 1024;
            unit = larger;
        }
        let rest = u128::from(bytes % one) * 1000 / u128::from(one);
        Self { whole: bytes / one, thousandths: u64::try_from(rest).unwrap_or(999), unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_the_largest_unit_that_fits() {
        let shown = |bytes| Bytes(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(512), "512 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.00 KiB");
        assert_eq!(shown(3 << 29), "1.50 GiB");
        assert_eq!(shown(u64::MAX), "15.99 EiB");
    }

    #[test]
    fn a_size_just_below_a_unit_is_not_rounded_up_to_it() {
        assert_eq!(Bytes((1 << 20) - 1).to_string(), "1023.99 KiB");
    }

    #[test]
    fn rates_have_one_decimal() {
        assert_eq!(Rate(129_394_278).to_string(), "123.3 MiB/s");
        assert_eq!(Rate(129_394_279).to_string(), "123.4 MiB/s");
        assert_eq!(Rate(7).to_string(), "7 B/s");
    }

    #[test]
    fn a_duration_starts_with_its_largest_unit_that_is_not_zero() {
        assert_eq!(Seconds(5).to_string(), "5s");
        assert_eq!(Seconds(83).to_string(), "1m23s");
        assert_eq!(Seconds(7500).to_string(), "2h05m00s");
        assert_eq!(Seconds(360_000).to_string(), "100h00m00s");
        assert_eq!(Seconds::from(Duration::from_millis(1999)), Seconds(1));
    }
}
