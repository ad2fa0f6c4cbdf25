//! Requests of those that are not the sender: counted, and told at `info` only now and then. Anybody who reaches the port
//! can make them, so a line for each would fill a disk.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many there were.
#[derive(Debug, Default)]
pub struct Refusals(AtomicU64);

impl Refusals {
    /// Counts one more. Returns how many there are if it is time to say so: at 1, 10, 100 and so on.
    pub fn count(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        10_u64.checked_pow(count.ilog10()).filter(|&power| power == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_requests_are_four_lines() {
        let refusals = Refusals::default();
        let told: Vec<u64> = (0..5000).filter_map(|_| refusals.count()).collect();
        assert_eq!(told, [1, 10, 100, 1000]);
    }
}
