//! Parses rates such as `50MiB/s`.

use std::fmt;
use std::str::FromStr;

use super::{Rate, parse_quantity};

/// A string is not a rate, or its rate is below [`Rate::MIN_BYTES_PER_SEC`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateError;

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a rate of at least {}, such as 50MiB/s, 50Mi or 400kB/s",
            Rate(Rate::MIN_BYTES_PER_SEC)
        )
    }
}

impl std::error::Error for RateError {}

impl Rate {
    /// The lowest rate that is accepted. Below it a single block would take longer than a minute, and the clone would look stalled.
    pub const MIN_BYTES_PER_SEC: u64 = 4096;
}

impl FromStr for Rate {
    type Err = RateError;

    /// Parses a Kubernetes quantity of bytes, with or without `B` and `/s`: `50MiB/s`, `50Mi`, `1GB/s`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let amount = text.strip_suffix("/s").unwrap_or(text).trim_end();
        let amount = amount.strip_suffix('B').unwrap_or(amount).trim_end();
        let compact: String = amount.split_whitespace().collect();
        let bytes = parse_quantity(&compact).map_err(|_| RateError)?;
        if bytes < Self::MIN_BYTES_PER_SEC { Err(RateError) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_parsed_in_the_notations_of_people_and_of_kubernetes() {
        for text in ["50MiB/s", "50 MiB/s", "50Mi/s", "50Mi", "52428800"] {
            assert_eq!(text.parse(), Ok(Rate(50 << 20)), "{text}");
        }
        assert_eq!("1GB/s".parse(), Ok(Rate(1_000_000_000)));
        assert_eq!("400kB/s".parse(), Ok(Rate(400_000)));
    }

    #[test]
    fn an_invalid_or_too_low_rate_is_refused() {
        for text in ["", "fast", "-1Mi", "50 Mi per second", "0", "4095", "50Mbit/s", "/s", "B"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
