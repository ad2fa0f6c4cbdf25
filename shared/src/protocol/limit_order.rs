//! A bandwidth limit that the controller sets in a running pod, signed (docs/protocol.md section 1.15).
//!
//! Everyone who can reach the metrics port of a pod can send an order. A pod follows it only with a signature of its
//! controller over the UID of this pod. The pod has the public key alone, which may be read by every user.

use std::fmt;
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::protocol::units::Rate;

/// The environment variable of a pod with the public key of its controller, as hexadecimal digits.
pub const KEY_VARIABLE: &str = "DECANT_LIMIT_KEY";
/// The environment variable of a pod with its own UID.
pub const POD_UID_VARIABLE: &str = "DECANT_POD_UID";
/// The series with the limit in force, in bytes per second; 0 is no limit.
pub const LIMIT_METRIC: &str = "decant_bandwidth_limit_bytes_per_second";
/// The series with the sequence number of the last order that was followed; 0 if there was none.
pub const SEQUENCE_METRIC: &str = "decant_bandwidth_limit_sequence";
/// The series with the bytes that count against the limit.
pub const LIMITED_BYTES_METRIC: &str = "decant_limited_bytes_total";
/// The series with the time for which the limit held the data back.
pub const LIMIT_WAIT_METRIC: &str = "decant_limit_wait_seconds_total";

/// The name of the order in the query of a poll.
const PARAMETER: &str = "limit=";
/// The prefix of all signed bytes, so that the signature means nothing else.
const DOMAIN: &str = "\0decant limit order 1\0";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A limit for one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOrder {
    /// Grows with each order to the same pod; an order with a number that is not higher than the last one is ignored.
    pub sequence: u64,
    /// The limit; `None` for no limit.
    pub limit: Option<Rate>,
}

/// Why an order is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderError {
    /// The text is not an order.
    Malformed,
    /// The controller did not sign it for this pod.
    Forged,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrderError::Malformed => "it is not an order",
            OrderError::Forged => "the controller of this pod did not sign it for this pod",
        })
    }
}

impl std::error::Error for OrderError {}

impl LimitOrder {
    /// The query of a poll that carries this order to the pod `pod_uid`.
    pub fn query(&self, pod_uid: &str, signer: &LimitSigner) -> String {
        let signature = signer.0.sign(&self.signed_bytes(pod_uid));
        format!("{PARAMETER}{}.{}.{}", self.sequence, self.bytes_per_sec(), hex(signature.as_ref()))
    }

    /// The order in the query of a poll of the pod `pod_uid`; `None` if there is none.
    pub fn in_query(query: &str, pod_uid: &str, key: &LimitKey) -> Option<Result<Self, OrderError>> {
        let text = query.split('&').find_map(|parameter| parameter.strip_prefix(PARAMETER))?;
        Some(Self::opened(text, pod_uid, key))
    }

    fn opened(text: &str, pod_uid: &str, key: &LimitKey) -> Result<Self, OrderError> {
        let mut parts = text.split('.');
        let (Some(sequence), Some(rate), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OrderError::Malformed);
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| OrderError::Malformed);
        let rate = number(rate)?;
        let order = Self { sequence: number(sequence)?, limit: (rate > 0).then_some(Rate(rate)) };
        let signature = bytes::<SIGNATURE_BYTES>(signature).ok_or(OrderError::Malformed)?;
        let verified =
            UnparsedPublicKey::new(&ED25519, key.0).verify(&order.signed_bytes(pod_uid), &signature);
        verified.map(|()| order).map_err(|_| OrderError::Forged)
    }

    fn bytes_per_sec(&self) -> u64 {
        self.limit.map_or(0, |Rate(bytes_per_sec)| bytes_per_sec)
    }

    /// The numbers have no other spelling, and the UID comes last, so different orders never have the same bytes.
    fn signed_bytes(&self, pod_uid: &str) -> Vec<u8> {
        format!("{DOMAIN}{} {} {pod_uid}", self.sequence, self.bytes_per_sec()).into_bytes()
    }
}

/// Signs orders.
pub struct LimitSigner(Ed25519KeyPair);

impl fmt::Debug for LimitSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitSigner")
    }
}

impl LimitSigner {
    /// The signer whose private key is `seed`. `None` never occurs: every seed of this length is a key.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The key with which pods check orders, as the value of [`KEY_VARIABLE`].
    pub fn public_key(&self) -> String {
        hex(self.0.public_key().as_ref())
    }
}

/// Checks orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitKey([u8; KEY_BYTES]);

impl FromStr for LimitKey {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        bytes(text).map(Self).ok_or(OrderError::Malformed)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let digits = hex.get(2 * index..2 * index + 2)?;
        // `from_str_radix` also accepts a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signer(seed: u8) -> LimitSigner {
        LimitSigner::from_seed(&[seed; KEY_BYTES]).unwrap()
    }

    fn key(seed: u8) -> LimitKey {
        signer(seed).public_key().parse().unwrap()
    }

    fn order(sequence: u64, bytes_per_sec: u64) -> LimitOrder {
        LimitOrder { sequence, limit: (bytes_per_sec > 0).then_some(Rate(bytes_per_sec)) }
    }

    #[test]
    fn an_order_reaches_the_pod_that_it_is_for_and_no_other() {
        let query = order(5, 1 << 20).query("pod-1", &signer(1));
        assert_eq!(LimitOrder::in_query(&query, "pod-1", &key(1)), Some(Ok(order(5, 1 << 20))));
        let forged = Some(Err(OrderError::Forged));
        assert_eq!(LimitOrder::in_query(&query, "pod-2", &key(1)), forged, "a replay to another pod");
        assert_eq!(LimitOrder::in_query(&query, "pod-1", &key(2)), forged, "another controller");
        for (from, to) in [("=5.", "=6."), (".1048576.", ".1048577."), (".1048576.", ".0.")] {
            assert_eq!(LimitOrder::in_query(&query.replace(from, to), "pod-1", &key(1)), forged, "{to}");
        }
    }

    #[test]
    fn the_end_of_a_limit_is_an_order_too() {
        let query = order(1, 0).query("p", &signer(1));
        assert_eq!(LimitOrder::in_query(&format!("x=1&{query}"), "p", &key(1)), Some(Ok(order(1, 0))));
    }

    #[test]
    fn a_query_without_an_order_is_none_and_a_wrong_one_is_malformed() {
        for query in ["", "x=1", "limits=1.2.3", "Limit=1.2.3"] {
            assert_eq!(LimitOrder::in_query(query, "p", &key(1)), None, "{query}");
        }
        let long = format!("limit=1.2.{}", "+a".repeat(64));
        for query in ["limit=", "limit=1", "limit=1.2.zz", "limit=-1.2.00", "limit=1.2.00.0", &long] {
            let opened = LimitOrder::in_query(query, "p", &key(1));
            assert_eq!(opened, Some(Err(OrderError::Malformed)), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_other_text_is_an_order(query in "(limit=)?.{0,20}[0-9.a-f]{0,200}") {
            prop_assert!(!matches!(LimitOrder::in_query(&query, "p", &key(1)), Some(Ok(_))));
        }

        #[test]
        fn every_order_is_read_back(sequence: u64, bytes_per_sec: u64, uid in "[a-z0-9-]{0,40}") {
            let order = order(sequence, bytes_per_sec);
            let query = order.query(&uid, &signer(3));
            prop_assert_eq!(LimitOrder::in_query(&query, &uid, &key(3)), Some(Ok(order)));
        }
    }
}
