//! Shares a budget of bandwidth among clones, max-min fair: a pure function.

/// What limits the share of one clone, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareRequest {
    /// The clone's own limit; no share is higher. `u64::MAX` without one.
    pub limit: u64,
    /// What the clone is expected to use. `u64::MAX` if it uses what it gets.
    pub demand: u64,
}

/// The share of each clone, in the order of `requests`. The sum is never higher than `budget`, and no share is higher
/// than the limit of its clone.
///
/// A clone whose limit or demand is lower than an equal share gets that; the others share the rest equally. What remains
/// when every demand is met is shared in the same way up to the limits, so that a clone can use more than expected.
pub fn shares(budget: u64, requests: &[ShareRequest]) -> Vec<u64> {
    let wanted: Vec<u64> = requests.iter().map(|request| request.limit.min(request.demand)).collect();
    let mut shares = filled(budget, &wanted);
    let rest = budget - shares.iter().sum::<u64>();
    let room: Vec<u64> = requests.iter().zip(&shares).map(|(request, share)| request.limit - share).collect();
    // Otherwise an equal share was cut, and only the remainder of the division is left.
    if shares == wanted {
        for (share, more) in shares.iter_mut().zip(filled(rest, &room)) {
            *share += more;
        }
    }
    shares
}

/// Pours `amount` into vessels of these sizes, whose levels are equal as far as they are not full.
fn filled(amount: u64, sizes: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| sizes[*index]);
    let mut levels = vec![0; sizes.len()];
    let mut left = amount;
    for (place, index) in order.iter().enumerate() {
        let level = sizes[*index].min(left / (sizes.len() - place) as u64);
        levels[*index] = level;
        left -= level;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const ANY: ShareRequest = ShareRequest { limit: u64::MAX, demand: u64::MAX };

    fn limited(limit: u64) -> ShareRequest {
        ShareRequest { limit, ..ANY }
    }

    fn uses(demand: u64) -> ShareRequest {
        ShareRequest { demand, ..ANY }
    }

    #[test]
    fn clones_without_limits_share_equally() {
        assert_eq!(shares(100 * MIB, &[ANY; 20]), [5 * MIB; 20]);
        assert_eq!(shares(100, &[]), [0; 0]);
    }

    #[test]
    fn what_a_limited_clone_does_not_take_is_shared_by_the_others() {
        assert_eq!(shares(100, &[limited(10), ANY, ANY]), [10, 45, 45]);
        assert_eq!(shares(100, &[limited(10), limited(20)]), [10, 20]);
    }

    #[test]
    fn what_a_slow_clone_does_not_use_is_shared_by_the_others() {
        assert_eq!(shares(100, &[uses(10), ANY, ANY]), [10, 45, 45]);
    }

    #[test]
    fn a_slow_clone_may_use_more_if_nothing_else_needs_it() {
        assert_eq!(shares(100, &[uses(10), uses(20)]), [45, 55]);
        assert_eq!(shares(100, &[uses(10), ShareRequest { limit: 30, demand: 20 }]), [70, 30]);
    }

    fn requests() -> impl Strategy<Value = Vec<ShareRequest>> {
        let amount = prop_oneof![2 => 4096_u64..1 << 30, 1 => Just(u64::MAX)];
        let request = (amount.clone(), amount).prop_map(|(limit, demand)| ShareRequest { limit, demand });
        prop::collection::vec(request, 1..40)
    }

    proptest! {
        #[test]
        fn the_sum_is_within_the_budget_and_each_share_within_its_limit(
            budget in 0_u64..1 << 40, requests in requests(),
        ) {
            let shares = shares(budget, &requests);
            prop_assert!(shares.iter().sum::<u64>() <= budget);
            for (share, request) in shares.iter().zip(&requests) {
                prop_assert!(*share <= request.limit);
            }
        }

        /// A clone with less than another one has what it wants.
        #[test]
        fn no_clone_gets_less_than_another_unless_it_wants_less(
            budget in 0_u64..1 << 40, requests in requests(),
        ) {
            let shares = shares(budget, &requests);
            for (share, request) in shares.iter().zip(&requests) {
                let is_satisfied = *share >= request.limit.min(request.demand);
                let is_lowest = shares.iter().all(|other| *other <= *share + 1);
                prop_assert!(is_satisfied || is_lowest, "{share} of {shares:?}");
            }
        }

        #[test]
        fn nothing_is_left_while_a_limit_permits_more(budget in 0_u64..1 << 40, requests in requests()) {
            let shares = shares(budget, &requests);
            let left = budget - shares.iter().sum::<u64>();
            let is_full = shares.iter().zip(&requests).all(|(share, request)| *share == request.limit);
            prop_assert!(is_full || left < 2 * requests.len() as u64, "{left} left of {shares:?}");
        }

        #[test]
        fn a_higher_budget_lowers_no_share_and_another_clone_raises_none(
            budget in 0_u64..1 << 40, more in 0_u64..1 << 30, requests in requests(),
        ) {
            let before = shares(budget, &requests);
            // The remainder of a division is less than one byte per second for each clone, in both rounds.
            for (old, new) in before.iter().zip(shares(budget + more, &requests)) {
                prop_assert!(new + 2 >= *old);
            }
            let fewer = shares(budget, &requests[1..]);
            for (with, without) in before[1..].iter().zip(fewer) {
                prop_assert!(*with <= without + 2);
            }
        }
    }
}
