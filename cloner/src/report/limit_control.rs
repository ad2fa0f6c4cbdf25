//! Follows the orders of the controller about the bandwidth limit, which come with its polls of the metrics page
//! (docs/protocol.md section 1.15).

use std::sync::{Arc, Mutex, PoisonError};

use decant_shared::protocol::limit_order::{LimitKey, LimitOrder};
use decant_shared::protocol::units::Rate;

use crate::pipeline::rate_limiter::RateLimiter;

/// What makes an order valid for this pod.
#[derive(Debug, Clone)]
pub struct OrderAddress {
    /// The key of the controller that created the pod.
    pub key: LimitKey,
    /// The UID of the pod.
    pub pod_uid: String,
}

/// Changes the limit when the controller orders it.
#[derive(Debug)]
pub struct LimitControl {
    limiter: Arc<RateLimiter>,
    address: Option<OrderAddress>,
    /// The number of the last order that was followed.
    sequence: Mutex<u64>,
}

impl LimitControl {
    /// Changes the limit of `limiter` by orders that are valid for `address`; without an address by none.
    pub fn new(limiter: Arc<RateLimiter>, address: Option<OrderAddress>) -> Self {
        Self { limiter, address, sequence: Mutex::new(0) }
    }

    /// The limiter.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// The number of the last order that was followed; 0 if there was none.
    pub fn sequence(&self) -> u64 {
        *self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the order in the query of a request, if there is a new one. Returns whether it did. An order that is not
    /// valid changes nothing; anyone can send one, so that is not worth more than a debug line.
    pub fn follow(&self, query: &str) -> bool {
        let Some(OrderAddress { key, pod_uid }) = &self.address else { return false };
        let order = match LimitOrder::in_query(query, pod_uid, key) {
            None => return false,
            Some(Ok(order)) => order,
            Some(Err(e)) => {
                log::debug!("ignored an order to change the bandwidth limit: {e}");
                return false;
            }
        };
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        if order.sequence <= *sequence {
            return false;
        }
        *sequence = order.sequence;
        if self.limiter.limit() != order.limit {
            self.limiter.set_limit(order.limit);
            match order.limit {
                Some(limit) => log::debug!("the bandwidth limit is now {limit}"),
                None => log::debug!("there is no bandwidth limit any more"),
            }
        }
        true
    }

    /// The limit in force.
    pub fn limit(&self) -> Option<Rate> {
        self.limiter.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_shared::protocol::limit_order::LimitSigner;

    fn signer() -> LimitSigner {
        LimitSigner::from_seed(&[7; 32]).unwrap()
    }

    fn control() -> LimitControl {
        let address = OrderAddress { key: signer().public_key().parse().unwrap(), pod_uid: "pod".to_owned() };
        LimitControl::new(Arc::new(RateLimiter::new(Some(Rate(5000)))), Some(address))
    }

    fn order(sequence: u64, limit: Option<Rate>) -> String {
        LimitOrder { sequence, limit }.query("pod", &signer())
    }

    #[test]
    fn an_order_is_followed_once_and_an_older_one_never() {
        let control = control();
        assert!(control.follow(&order(10, Some(Rate(9000)))));
        assert_eq!((control.limit(), control.sequence()), (Some(Rate(9000)), 10));
        assert!(!control.follow(&order(10, Some(Rate(7000)))) && !control.follow(&order(9, None)));
        assert_eq!(control.limit(), Some(Rate(9000)));
        assert!(control.follow(&order(11, None)));
        assert_eq!(control.limit(), None);
    }

    #[test]
    fn without_a_valid_signature_nothing_changes() {
        let control = control();
        let other = LimitSigner::from_seed(&[8; 32]).unwrap();
        let forged = LimitOrder { sequence: u64::MAX, limit: Some(Rate(1)) };
        for query in
            [forged.query("pod", &other), forged.query("another pod", &signer()), "limit=1.1.1".to_owned()]
        {
            assert!(!control.follow(&query), "{query}");
        }
        assert_eq!((control.limit(), control.sequence()), (Some(Rate(5000)), 0));
    }

    #[test]
    fn a_pod_without_a_controllers_key_follows_no_order() {
        let control = LimitControl::new(Arc::new(RateLimiter::new(None)), None);
        assert!(!control.follow(&order(1, Some(Rate(5000)))));
        assert_eq!(control.limit(), None);
    }
}
