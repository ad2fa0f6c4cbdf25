//! Identifies one of several connections that carry a clone together (docs/protocol.md section 6.5).

use std::fmt;
use std::str::FromStr;

/// Maximum number of connections of a clone: each costs about 2 MiB at both ends.
pub const STREAMS_LIMIT: usize = 8;

/// Which connection of which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamId {
    /// A random number that the source chooses for each attempt, so that connections of a previous attempt cannot join it.
    pub attempt: u64,
    /// Counted from 0. The first connection leads: it is admitted like any upload, and its answer is for all of them.
    pub index: usize,
    /// The number of connections.
    pub count: usize,
}

impl StreamId {
    /// Whether this is the connection that is admitted and answered.
    pub fn is_leader(self) -> bool {
        self.index == 0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}/{}", self.attempt, self.index, self.count)
    }
}

impl FromStr for StreamId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (attempt, position) = text.split_once(' ').ok_or(())?;
        let (index, count) = position.split_once('/').ok_or(())?;
        let attempt = u64::from_str_radix(attempt, 16).map_err(|_| ())?;
        let index = index.parse().map_err(|_| ())?;
        let count = count.parse().map_err(|_| ())?;
        let is_possible = (2..=STREAMS_LIMIT).contains(&count) && index < count;
        if is_possible { Ok(Self { attempt, index, count }) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn impossible_values_are_refused() {
        for text in ["", "7", "7 0", "7 0/1", "7 2/2", "7 0/9", "7 -1/2", "x 0/2", "7 0/2/3"] {
            assert!(text.parse::<StreamId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_display_and_parse(attempt: u64, index in 0..8_usize) {
            let stream = StreamId { attempt, index, count: 8 };
            prop_assert_eq!(stream.to_string().parse(), Ok(stream));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = text.parse::<StreamId>();
        }
    }
}
