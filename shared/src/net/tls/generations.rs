//! Which generation of keys counts. Pure: what is there and what is known in, the choice out.
//!
//! Generation 0 is what an end was started with; each renewal adds one with a higher number. The highest one that can be
//! used counts. An end never returns to a lower one than it has used: that has been replaced, and perhaps for a reason.

use std::ops::ControlFlow;

use super::Unusable;

/// What a look at all generations found.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice<T> {
    /// The generation to use from now on; `None`: what is used already stays.
    pub found: Option<(u8, T)>,
    /// Generations that would have counted, but cannot be used, highest first.
    pub skipped: Vec<(u8, Unusable)>,
}

/// Chooses among the generations that are `there`, in any order, for an end that uses `current`. `take` reads one; it
/// says [`ControlFlow::Break`] where that is what is used already.
///
/// Only generations from `current` on are read, the highest first, and none after the first that can be used.
pub fn choose<T>(
    there: &[u8],
    current: u8,
    mut take: impl FnMut(u8) -> Result<ControlFlow<(), T>, Unusable>,
) -> Choice<T> {
    let mut candidates: Vec<u8> = there.iter().copied().filter(|&generation| generation >= current).collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates.dedup();
    let mut skipped = Vec::new();
    for generation in candidates {
        match take(generation) {
            Ok(ControlFlow::Continue(taken)) => return Choice { found: Some((generation, taken)), skipped },
            Ok(ControlFlow::Break(())) => break,
            Err(unusable) => skipped.push((generation, unusable)),
        }
    }
    Choice { found: None, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Chooses where the generations `bad` are of no use.
    fn chosen(there: &[u8], current: u8, bad: &[u8]) -> Choice<()> {
        choose(there, current, |generation| match bad.contains(&generation) {
            true => Err(Unusable(format!("bad {generation}"))),
            false if generation == current => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        })
    }

    fn number(choice: &Choice<()>) -> Option<u8> {
        choice.found.map(|(generation, ())| generation)
    }

    #[test]
    fn the_highest_generation_counts_in_whatever_order_they_are_listed() {
        assert_eq!(number(&chosen(&[0, 2, 8, 1], 0, &[])), Some(8));
    }

    #[test]
    fn one_that_is_of_no_use_is_skipped_and_named() {
        let choice = chosen(&[0, 1, 2, 3], 0, &[3, 2]);
        assert_eq!(number(&choice), Some(1));
        assert_eq!(choice.skipped, [(3, Unusable("bad 3".to_owned())), (2, Unusable("bad 2".to_owned()))]);
    }

    #[test]
    fn what_is_used_stays_when_nothing_higher_is_of_use() {
        assert_eq!(number(&chosen(&[0, 1, 2, 3], 2, &[3])), None);
        assert_eq!(number(&chosen(&[0, 1, 2], 2, &[2])), None);
    }

    #[test]
    fn an_end_does_not_return_to_a_lower_generation_when_its_own_is_gone() {
        assert_eq!(chosen(&[0, 1, 2], 3, &[]), Choice { found: None, skipped: Vec::new() });
    }

    #[test]
    fn nothing_below_the_one_that_counts_is_read() {
        let mut read = Vec::new();
        let choice = choose(&[0, 1, 2], 0, |generation| {
            read.push(generation);
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!((number(&choice), read), (Some(2), vec![2]));
    }

    proptest! {
        #[test]
        fn what_counts_is_the_highest_good_one_from_the_present_one_on(
            there in prop::collection::vec(0_u8..=8, 0..12),
            bad in prop::collection::vec(0_u8..=8, 0..9),
            current in 0_u8..=8,
        ) {
            let best = there.iter().copied().filter(|g| *g >= current && !bad.contains(g)).max();
            let found = number(&chosen(&there, current, &bad));
            prop_assert_eq!(found, best.filter(|&best| best != current));
        }
    }
}
