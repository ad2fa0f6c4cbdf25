//! One of several connections that carry a clone together, as its request says it (docs/protocol.md, 6.5).

use std::fmt;
use std::str::FromStr;

/// No clone has more connections: each costs either end about 2 MiB.
pub const STREAMS_LIMIT: usize = 8;

/// Which connection of which clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOf {
    /// Made up by the source for each attempt, so that what is left of one before cannot join it.
    pub clone: u64,
    /// Counted from 0. The first one leads: it is admitted like any upload, and answered for all of them.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl StreamOf {
    /// Whether it is the one that is admitted.
    pub fn leads(self) -> bool {
        self.index == 0
    }
}

impl fmt::Display for StreamOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}/{}", self.clone, self.index, self.count)
    }
}

impl FromStr for StreamOf {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (clone, place) = text.split_once(' ').ok_or(())?;
        let (index, count) = place.split_once('/').ok_or(())?;
        let clone = u64::from_str_radix(clone, 16).map_err(|_| ())?;
        let (index, count) = (index.parse().map_err(|_| ())?, count.parse().map_err(|_| ())?);
        let is_possible = (2..=STREAMS_LIMIT).contains(&count) && index < count;
        if is_possible { Ok(Self { clone, index, count }) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["", "7", "7 0", "7 0/1", "7 2/2", "7 0/9", "7 -1/2", "x 0/2", "7 0/2/3"] {
            assert!(text.parse::<StreamOf>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_is_written(clone: u64, index in 0..8_usize) {
            let stream = StreamOf { clone, index, count: 8 };
            prop_assert_eq!(stream.to_string().parse(), Ok(stream));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = text.parse::<StreamOf>();
        }
    }
}
