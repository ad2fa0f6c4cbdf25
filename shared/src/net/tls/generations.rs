//! Decides which generation of keys to use.
//!
//! Generation 0 is the set of keys that a process was started with; each renewal adds a generation with a higher number. The
//! highest usable one is used. A process never returns to a lower generation than it has used: that one was replaced,
//! possibly because it was compromised.

use std::ops::ControlFlow;

use super::TlsConfigError;

/// The result of [`choose`].
#[derive(Debug, PartialEq, Eq)]
pub struct GenerationChoice<T> {
    /// The generation to use from now on; `None` means that the current one stays.
    pub found: Option<(u8, T)>,
    /// Generations from the current one on that cannot be used, highest first.
    pub skipped: Vec<(u8, TlsConfigError)>,
}

/// Chooses among the generations that are `available` (in any order) for a process that uses `current`. `read` reads one; it
/// returns [`ControlFlow::Break`] if that is what is already in use.
///
/// Only generations from `current` on are read, the highest first, and none after the first usable one.
pub fn choose<T>(
    available: &[u8],
    current: u8,
    mut read: impl FnMut(u8) -> Result<ControlFlow<(), T>, TlsConfigError>,
) -> GenerationChoice<T> {
    let mut candidates: Vec<u8> =
        available.iter().copied().filter(|&generation| generation >= current).collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates.dedup();
    let mut skipped = Vec::new();
    for generation in candidates {
        match read(generation) {
            Ok(ControlFlow::Continue(value)) => {
                return GenerationChoice { found: Some((generation, value)), skipped };
            }
            Ok(ControlFlow::Break(())) => break,
            Err(error) => skipped.push((generation, error)),
        }
    }
    GenerationChoice { found: None, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Chooses while the generations `bad` are unusable.
    fn chosen(available: &[u8], current: u8, bad: &[u8]) -> GenerationChoice<()> {
        choose(available, current, |generation| match bad.contains(&generation) {
            true => Err(TlsConfigError(format!("bad {generation}"))),
            false if generation == current => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        })
    }

    fn number(choice: &GenerationChoice<()>) -> Option<u8> {
        choice.found.map(|(generation, ())| generation)
    }

    #[test]
    fn the_highest_generation_is_used_in_any_order_of_the_list() {
        assert_eq!(number(&chosen(&[0, 2, 8, 1], 0, &[])), Some(8));
    }

    #[test]
    fn an_unusable_generation_is_skipped_and_reported() {
        let choice = chosen(&[0, 1, 2, 3], 0, &[3, 2]);
        assert_eq!(number(&choice), Some(1));
        assert_eq!(
            choice.skipped,
            [(3, TlsConfigError("bad 3".to_owned())), (2, TlsConfigError("bad 2".to_owned()))]
        );
    }

    #[test]
    fn the_current_generation_stays_if_no_higher_one_is_usable() {
        assert_eq!(number(&chosen(&[0, 1, 2, 3], 2, &[3])), None);
        assert_eq!(number(&chosen(&[0, 1, 2], 2, &[2])), None);
    }

    #[test]
    fn a_lower_generation_is_never_used_again_even_if_the_current_one_is_gone() {
        assert_eq!(chosen(&[0, 1, 2], 3, &[]), GenerationChoice { found: None, skipped: Vec::new() });
    }

    #[test]
    fn generations_below_the_chosen_one_are_not_read() {
        let mut read = Vec::new();
        let choice = choose(&[0, 1, 2], 0, |generation| {
            read.push(generation);
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!((number(&choice), read), (Some(2), vec![2]));
    }

    proptest! {
        #[test]
        fn the_highest_usable_generation_from_the_current_one_on_is_chosen(
            available in prop::collection::vec(0_u8..=8, 0..12),
            bad in prop::collection::vec(0_u8..=8, 0..9),
            current in 0_u8..=8,
        ) {
            let best = available.iter().copied().filter(|g| *g >= current && !bad.contains(g)).max();
            let found = number(&chosen(&available, current, &bad));
            prop_assert_eq!(found, best.filter(|&best| best != current));
        }
    }
}
