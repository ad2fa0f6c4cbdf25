//! Decides which connections get a slot when the server is full. Pure: it does not touch sockets.
//!
//! A new connection is pending, which costs a descriptor but no thread. Then it gets a slot, which costs a thread. When all
//! slots are used, a pending connection that has sent something evicts a connection that the server is waiting for. HTTP and
//! TLS clients send first, so a silent connection evicts no other. A connection is never evicted while its request is being
//! served, or if its certificate is one that the service knows.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Limits of a server's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Slots for connections that the service does not know. Together with the pending ones this is more than the 500 idle
    /// connections that a server has to survive (docs/specification.md).
    pub connections: usize,
    /// How many of these slots one address may use (IPv6: one /64 network).
    pub per_peer: usize,
    /// Additional slots, for connections that the service knows by their certificate.
    pub reserved: usize,
    /// Maximum number of pending connections. Beyond it, the oldest one of the address with the most of them is closed.
    pub pending: usize,
    /// Time from getting a slot to the end of the request's head, including the handshake; also the time to wait for a slot.
    pub opening: Duration,
    /// Replaces `opening` while more than half of the slots are used.
    pub opening_under_pressure: Duration,
    /// How long sending an answer may make no progress.
    pub write: Duration,
    /// How long the peer may take to close after the answer.
    pub linger: Duration,
}

impl Default for Limits {
    /// Suitable for probes and scrapers, which take milliseconds.
    fn default() -> Self {
        Self {
            // A used slot costs about 50 KiB: 7 MiB for all of them.
            connections: 128,
            // One unknown peer cannot take all slots, and half of them is more than one Prometheus or API server needs.
            per_peer: 64,
            // A source has at most 8 connections and one more for queries. The rest is for connections of its previous attempts.
            reserved: 32,
            // A pending connection costs a descriptor and some KiB in the kernel. The usual descriptor limit is 1024.
            pending: 448,
            opening: Duration::from_secs(5),
            opening_under_pressure: Duration::from_secs(2),
            write: Duration::from_secs(10),
            linger: Duration::from_secs(5),
        }
    }
}

/// How long a connection may keep a full server waiting. A TLS hello and a head take some milliseconds inside a cluster, and
/// somewhat longer on a busy node.
const PATIENCE: Duration = Duration::from_millis(250);
/// Replaces [`PATIENCE`] when the pending queue is full: then connections arrive faster than it evicts them.
const LAST_PATIENCE: Duration = Duration::from_millis(10);
/// Replaces [`PATIENCE`] for a peer that reads its answer slowly.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Maximum number of evicted connections whose threads still run. At this limit nothing more is evicted. It is reached only on
/// an overloaded machine: elsewhere a thread ends immediately after its eviction.
const ENDING_MAX: usize = 32;

/// The unit in which peers are counted: an IPv4 address, or the IPv6 /64 network that one host has for itself (RFC 4291,
/// 2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PeerNetwork(u128);

impl PeerNetwork {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u32::from(address).into()),
            // The lower half is zero except for one bit that no IPv4 value has.
            IpAddr::V6(address) => Self((u128::from(address) >> 64 << 64) | 1 << 63),
        }
    }
}

/// What a connection with a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnPhase {
    /// Handshake, or without TLS the head of the request: the server waits for the peer.
    Opening,
    /// The head of the request, after the handshake: the server waits for the peer.
    Reading,
    /// The body of the request: the server waits for the peer.
    Receiving,
    /// The service is handling the request.
    Serving,
    /// Sending the answer: the peer has to read it.
    Answering,
    /// The answer was sent: the peer has to close.
    Closing,
}

/// A connection that has a slot.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) network: PeerNetwork,
    pub(super) phase: ConnPhase,
    /// When the phase began.
    pub(super) since: Instant,
    /// The service knows its certificate.
    pub(super) is_known: bool,
    /// It was evicted, and its thread has not ended yet.
    pub(super) is_ending: bool,
}

impl Slot {
    /// Whether it is counted among [`Limits::connections`].
    fn is_counted(&self) -> bool {
        !self.is_known && !self.is_ending
    }

    /// How long it may keep a full server waiting in this phase; `None` if the server does not wait for it.
    fn patience(&self, usual: Duration) -> Option<Duration> {
        match self.phase {
            ConnPhase::Opening | ConnPhase::Reading | ConnPhase::Receiving | ConnPhase::Closing => {
                Some(usual)
            }
            ConnPhase::Answering => Some(ANSWER_PATIENCE.max(usual)),
            ConnPhase::Serving => None,
        }
    }
}

/// A connection that waits for a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingConnection {
    pub(super) network: PeerNetwork,
    /// When it was accepted.
    pub(super) since: Instant,
    /// Whether the peer has sent something.
    pub(super) has_input: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Give a slot to the pending connection with this index.
    Admit(usize),
    /// End the connection in the slot with this id.
    Evict(u64),
    /// Close the pending connection with this index.
    Reject(usize),
    /// Do nothing until something changes or time passes.
    Wait,
}

/// Decides what to do next. `pending` is in order of arrival.
pub(super) fn decide(
    slots: &[Slot],
    pending: &[PendingConnection],
    limits: &Limits,
    now: Instant,
) -> Decision {
    let age = |since: Instant| now.saturating_duration_since(since);
    let counted = || slots.iter().filter(|slot| slot.is_counted());
    let used = counted().count();
    let opening = match used * 2 > limits.connections {
        true => limits.opening_under_pressure,
        false => limits.opening,
    };
    let may_evict = slots.iter().filter(|slot| slot.is_ending).count() < ENDING_MAX;
    let is_opening = |slot: &&Slot| matches!(slot.phase, ConnPhase::Opening | ConnPhase::Reading);
    let overdue = counted().filter(is_opening).find(|slot| age(slot.since) >= opening);
    if let Some(slot) = overdue.filter(|_| may_evict) {
        return Decision::Evict(slot.id);
    }
    if let Some(index) = pending.iter().position(|connection| age(connection.since) >= limits.opening) {
        return Decision::Reject(index);
    }
    let used_by = count(counted().map(|slot| slot.network));
    let slots_of = |network: &PeerNetwork| used_by.get(network).copied().unwrap_or_default();
    // Connections that sent something come first, then those whose network has the fewest slots, then in order of arrival.
    let first = pending
        .iter()
        .enumerate()
        .min_by_key(|(index, connection)| (!connection.has_input, slots_of(&connection.network), *index));
    let Some((index, candidate)) = first else { return Decision::Wait };
    let own_slots = slots_of(&candidate.network);
    if own_slots < limits.per_peer && used < limits.connections {
        return Decision::Admit(index);
    }
    let usual = if pending.len() >= limits.pending { LAST_PATIENCE } else { PATIENCE };
    let is_evictable = |slot: &Slot| slot.patience(usual).is_some_and(|limit| age(slot.since) >= limit);
    // A network at its own limit loses one of its own slots. Otherwise the network with the most slots loses one.
    let victim = counted()
        .filter(|slot| own_slots < limits.per_peer || slot.network == candidate.network)
        .filter(|slot| candidate.has_input && is_evictable(slot))
        .min_by_key(|slot| (Reverse(slots_of(&slot.network)), slot.since));
    match victim {
        Some(slot) if may_evict => Decision::Evict(slot.id),
        _ if pending.len() > limits.pending => Decision::Reject(oldest_of_the_largest_network(pending)),
        _ => Decision::Wait,
    }
}

/// The oldest pending connection of the network that has the most of them.
fn oldest_of_the_largest_network(pending: &[PendingConnection]) -> usize {
    let by_network = count(pending.iter().map(|connection| connection.network));
    let most = by_network.values().max();
    pending.iter().position(|connection| by_network.get(&connection.network) == most).unwrap_or_default()
}

fn count(networks: impl Iterator<Item = PeerNetwork>) -> HashMap<PeerNetwork, usize> {
    networks.fold(HashMap::new(), |mut counts, network| {
        *counts.entry(network).or_default() += 1;
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 4,
        per_peer: 2,
        reserved: 2,
        pending: 3,
        opening: Duration::from_secs(5),
        opening_under_pressure: Duration::from_secs(2),
        write: Duration::from_secs(10),
        linger: Duration::from_secs(5),
    };

    fn network(host: u8) -> PeerNetwork {
        PeerNetwork::of(IpAddr::from([10, 0, 0, host]))
    }

    /// Slots and pending connections at a time that is far enough from the clock's start.
    struct Scenario {
        now: Instant,
        slots: Vec<Slot>,
        pending: Vec<PendingConnection>,
    }

    impl Scenario {
        fn new() -> Self {
            Self { now: Instant::now() + Duration::from_secs(60), slots: Vec::new(), pending: Vec::new() }
        }

        /// Adds a slot whose phase has lasted for `age_millis`. Its id is the number of slots before it.
        fn slot(mut self, host: u8, phase: ConnPhase, age_millis: u64) -> Self {
            self.slots.push(Slot {
                id: self.slots.len() as u64,
                network: network(host),
                phase,
                since: self.now - Duration::from_millis(age_millis),
                is_known: false,
                is_ending: false,
            });
            self
        }

        fn known(mut self) -> Self {
            self.slots.last_mut().unwrap().is_known = true;
            self
        }

        fn ending(mut self) -> Self {
            self.slots.last_mut().unwrap().is_ending = true;
            self
        }

        fn pending(mut self, host: u8, age_millis: u64) -> Self {
            let since = self.now - Duration::from_millis(age_millis);
            self.pending.push(PendingConnection { network: network(host), since, has_input: true });
            self
        }

        fn silent(mut self) -> Self {
            self.pending.last_mut().unwrap().has_input = false;
            self
        }

        fn decide(&self) -> Decision {
            decide(&self.slots, &self.pending, &LIMITS, self.now)
        }
    }

    /// Four silent connections of four hosts; the second is the oldest.
    fn full() -> Scenario {
        Scenario::new()
            .slot(1, ConnPhase::Opening, 300)
            .slot(2, ConnPhase::Opening, 900)
            .slot(3, ConnPhase::Opening, 400)
            .slot(4, ConnPhase::Opening, 500)
    }

    #[test]
    fn a_pending_connection_gets_a_free_slot() {
        assert_eq!(Scenario::new().pending(1, 0).decide(), Decision::Admit(0));
        assert_eq!(Scenario::new().decide(), Decision::Wait);
    }

    #[test]
    fn a_full_server_evicts_the_oldest_idle_connection() {
        assert_eq!(full().pending(9, 0).decide(), Decision::Evict(1));
    }

    #[test]
    fn a_silent_connection_evicts_no_other_and_delays_no_other() {
        assert_eq!(full().pending(9, 0).silent().decide(), Decision::Wait);
        assert_eq!(full().pending(9, 90).silent().pending(8, 0).decide(), Decision::Evict(1));
        assert_eq!(Scenario::new().pending(9, 90).silent().pending(8, 0).decide(), Decision::Admit(1));
        assert_eq!(Scenario::new().pending(9, 90).silent().decide(), Decision::Admit(0));
    }

    #[test]
    fn no_connection_is_evicted_while_none_is_pending() {
        assert_eq!(full().decide(), Decision::Wait);
    }

    #[test]
    fn a_new_connection_is_not_evicted_before_its_patience_ends() {
        let scenario =
            (1..=4).fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Opening, 249));
        assert_eq!(scenario.pending(9, 0).decide(), Decision::Wait);
    }

    #[test]
    fn a_request_that_is_being_served_is_never_evicted() {
        let scenario = (1..=4)
            .fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Serving, 3_600_000));
        assert_eq!(scenario.pending(9, 0).decide(), Decision::Wait);
    }

    #[test]
    fn a_known_certificate_is_never_evicted_and_uses_no_ordinary_slot() {
        let scenario = Scenario::new()
            .slot(1, ConnPhase::Opening, 4_000)
            .known()
            .slot(2, ConnPhase::Closing, 4_000)
            .known();
        let scenario = scenario.slot(3, ConnPhase::Serving, 0).slot(4, ConnPhase::Serving, 0).slot(
            5,
            ConnPhase::Serving,
            0,
        );
        assert_eq!(scenario.pending(9, 0).decide(), Decision::Admit(0));
        let scenario = Scenario::new().slot(1, ConnPhase::Opening, 4_000).known();
        let scenario = (2..=5).fold(scenario, |scenario, host| scenario.slot(host, ConnPhase::Serving, 0));
        assert_eq!(scenario.pending(9, 0).decide(), Decision::Wait);
    }

    #[test]
    fn a_connection_that_the_server_waits_for_can_be_evicted() {
        for (phase, age_millis) in [
            (ConnPhase::Opening, 250),
            (ConnPhase::Reading, 250),
            (ConnPhase::Receiving, 250),
            (ConnPhase::Closing, 250),
            (ConnPhase::Answering, 2_000),
        ] {
            let busy = (1..=3)
                .fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Serving, 9_000));
            assert_eq!(
                busy.slot(4, phase, age_millis).pending(9, 0).decide(),
                Decision::Evict(3),
                "{phase:?}"
            );
            let busy = (1..=3)
                .fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Serving, 9_000));
            assert_eq!(
                busy.slot(4, phase, age_millis - 1).pending(9, 0).decide(),
                Decision::Wait,
                "{phase:?}"
            );
        }
    }

    #[test]
    fn an_address_at_its_limit_loses_one_of_its_own_slots() {
        let scenario = Scenario::new().slot(1, ConnPhase::Opening, 900).slot(2, ConnPhase::Opening, 400);
        assert_eq!(scenario.slot(2, ConnPhase::Opening, 300).pending(2, 0).decide(), Decision::Evict(1));
        let scenario = Scenario::new().slot(1, ConnPhase::Opening, 900).slot(2, ConnPhase::Serving, 400);
        assert_eq!(scenario.slot(2, ConnPhase::Serving, 300).pending(2, 0).decide(), Decision::Wait);
    }

    #[test]
    fn an_address_at_its_limit_does_not_delay_others() {
        let scenario = Scenario::new().slot(2, ConnPhase::Opening, 400).slot(2, ConnPhase::Opening, 300);
        assert_eq!(scenario.pending(2, 90).pending(2, 80).pending(3, 0).decide(), Decision::Admit(2));
    }

    #[test]
    fn the_address_with_most_slots_loses_one_although_another_slot_is_older() {
        let scenario = Scenario::new().slot(1, ConnPhase::Opening, 900).slot(2, ConnPhase::Opening, 300);
        let scenario = scenario.slot(2, ConnPhase::Opening, 400).slot(3, ConnPhase::Opening, 800);
        assert_eq!(scenario.pending(9, 0).decide(), Decision::Evict(2));
    }

    #[test]
    fn a_full_queue_rejects_a_connection_of_the_address_with_most() {
        let scenario =
            (1..=4).fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Serving, 0));
        let scenario = scenario.pending(7, 90).pending(8, 80).pending(8, 70).pending(9, 0);
        assert_eq!(scenario.decide(), Decision::Reject(1));
    }

    #[test]
    fn a_full_queue_shortens_the_patience() {
        let crowd = |age_millis| {
            let scenario = (1..=4)
                .fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Opening, age_millis));
            scenario.pending(7, 3).pending(8, 2).pending(9, 1)
        };
        assert_eq!(crowd(10).decide(), Decision::Evict(0));
        assert_eq!(crowd(9).decide(), Decision::Wait);
    }

    #[test]
    fn an_overdue_head_is_evicted_and_sooner_under_pressure() {
        let calm = |age_millis| {
            Scenario::new().slot(1, ConnPhase::Opening, age_millis).slot(2, ConnPhase::Serving, 0)
        };
        assert_eq!(calm(4_999).decide(), Decision::Wait);
        assert_eq!(calm(5_000).decide(), Decision::Evict(0));
        let pressed = |age_millis| calm(age_millis).slot(3, ConnPhase::Serving, 0);
        assert_eq!(pressed(1_999).decide(), Decision::Wait);
        assert_eq!(pressed(2_000).decide(), Decision::Evict(0));
    }

    #[test]
    fn a_connection_that_waited_too_long_is_rejected() {
        let scenario =
            (1..=4).fold(Scenario::new(), |scenario, host| scenario.slot(host, ConnPhase::Serving, 0));
        assert_eq!(scenario.pending(8, 1_000).pending(9, 5_000).decide(), Decision::Reject(1));
    }

    #[test]
    fn evicted_connections_free_their_slots_at_once_up_to_a_limit() {
        let scenario = full().ending().pending(9, 0);
        assert_eq!(scenario.decide(), Decision::Admit(0));
        let many = (0..ENDING_MAX)
            .fold(Scenario::new(), |scenario, _| scenario.slot(1, ConnPhase::Opening, 900).ending());
        let many = (1..=4).fold(many, |scenario, host| scenario.slot(host, ConnPhase::Opening, 900));
        assert_eq!(many.pending(9, 0).decide(), Decision::Wait);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_mapped_addresses_are_ipv4() {
        let of = |text: &str| PeerNetwork::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_ne!(of("::1"), of("0.0.0.1"));
    }
}
