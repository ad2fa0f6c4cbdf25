//! Who gets a place at a server that is full: the decision alone, without a socket.
//!
//! A connection first waits, which costs a descriptor and no thread. Then it gets a place, which costs a thread. When
//! all places are taken, a connection that only keeps the server waiting loses its place to one that waits and has said
//! something: clients of HTTP and of TLS speak first, and one that says nothing takes nobody's place. A
//! connection whose request is being worked on, and one that has proved with its certificate that it is expected, never
//! lose theirs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a server allows its connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Places for all whom the service does not know. With those that wait they are more than 500.
    pub connections: usize,
    /// Of them, for one address (IPv6: for one network of 64 bits).
    pub per_peer: usize,
    /// Places beside those, for connections that the service knows by their certificate.
    pub reserved: usize,
    /// Connections that wait for a place; one more, and the oldest of the address that has most of them is closed.
    pub waiting: usize,
    /// From getting a place to the end of the request's head, the handshake included; and for waiting for the place.
    pub opening: Duration,
    /// The same while more than half of the places are taken.
    pub opening_under_pressure: Duration,
    /// For an answer that makes no progress.
    pub write: Duration,
    /// For the peer to take note that we closed.
    pub linger: Duration,
}

impl Default for Limits {
    /// Right for probes and scrapers, which take milliseconds.
    fn default() -> Self {
        Self {
            // A place in use costs about 50 KiB: 7 MiB for all of them.
            connections: 128,
            // Two strangers cannot take all places, and half of them is more than one Prometheus or one API server needs.
            per_peer: 64,
            // A source has at most 8 connections and asks with one more; the rest is for those that it left behind.
            reserved: 32,
            // One that waits costs its descriptor and some KiB of the kernel's. The usual limit of descriptors is 1024.
            waiting: 448,
            opening: Duration::from_secs(5),
            opening_under_pressure: Duration::from_secs(2),
            write: Duration::from_secs(10),
            linger: Duration::from_secs(5),
        }
    }
}

/// How long a connection may keep a full server waiting: a hello and a head take some milliseconds inside a cluster,
/// and a busy node some more.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same when no more can wait: then connections come faster than [`PATIENCE`] lets them go.
const LAST_PATIENCE: Duration = Duration::from_millis(10);
/// The same for a peer that takes its answer slowly.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Connections that were ended and whose threads still run. They notice at once, so this many are there only when the
/// processors are busy; then no more are ended.
const ENDING_MAX: usize = 32;

/// Where a connection comes from, as it is counted: an address, or for IPv6 the network of 64 bits that one host has
/// to itself (RFC 4291, 2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin(u128);

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u32::from(address).into()),
            // The lower half stays zero but for one bit, which no address of the other family has.
            IpAddr::V6(address) => Self((u128::from(address) >> 64 << 64) | 1 << 63),
        }
    }
}

/// What a connection with a place is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Handshake, or without TLS the head of the request: the peer has to say something.
    Opening,
    /// The head of the request, after a handshake: the peer has shown that it speaks.
    Reading,
    /// The request's body: the peer has to say more.
    Receiving,
    /// The service works on the request.
    Serving,
    /// The answer is on its way: the peer has to take it.
    Answering,
    /// The answer is out: the peer has to close.
    Closing,
}

/// A connection that has a place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) origin: Origin,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Instant,
    /// The service knows its certificate.
    pub(super) is_known: bool,
    /// It was told to end.
    pub(super) is_ending: bool,
}

impl Place {
    /// Whether it is counted among [`Limits::connections`].
    fn is_counted(&self) -> bool {
        !self.is_known && !self.is_ending
    }

    /// How long it may keep a full server waiting in this phase; `None`: the server does not wait for it.
    fn patience(&self, usual: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Opening | Phase::Reading | Phase::Receiving | Phase::Closing => Some(usual),
            Phase::Answering => Some(ANSWER_PATIENCE.max(usual)),
            Phase::Serving => None,
        }
    }
}

/// A connection that waits for a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) origin: Origin,
    /// When it was accepted.
    pub(super) since: Instant,
    /// Whether there is something to read from it.
    pub(super) has_spoken: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Give a place to the waiter with this index.
    Start(usize),
    /// End the connection with this number.
    End(u64),
    /// Close the waiter with this index.
    Close(usize),
    /// Nothing, until something changes or time passes.
    Wait,
}

/// Decides what comes next. `waiters` are in the order in which they came.
pub(super) fn next_step(places: &[Place], waiters: &[Waiter], limits: &Limits, now: Instant) -> Step {
    let age = |since: Instant| now.saturating_duration_since(since);
    let counted = || places.iter().filter(|place| place.is_counted());
    let taken = counted().count();
    let opening = match taken * 2 > limits.connections {
        true => limits.opening_under_pressure,
        false => limits.opening,
    };
    let has_room_to_end = places.iter().filter(|place| place.is_ending).count() < ENDING_MAX;
    let is_opening = |place: &&Place| matches!(place.phase, Phase::Opening | Phase::Reading);
    let overdue = counted().filter(is_opening).find(|place| age(place.since) >= opening);
    if let Some(place) = overdue.filter(|_| has_room_to_end) {
        return Step::End(place.id);
    }
    if let Some(index) = waiters.iter().position(|waiter| age(waiter.since) >= limits.opening) {
        return Step::Close(index);
    }
    let by_origin = count(counted().map(|place| place.origin));
    let of = |origin: &Origin| by_origin.get(origin).copied().unwrap_or_default();
    // Those who spoke come first, of them those whose address has the fewest places, and of them the first that came.
    let first = waiters
        .iter()
        .enumerate()
        .map(|(index, waiter)| (!waiter.has_spoken, of(&waiter.origin), index, waiter.origin))
        .min_by_key(|(is_silent, places, index, _)| (*is_silent, *places, *index));
    let Some((is_silent, own, index, origin)) = first else { return Step::Wait };
    if own < limits.per_peer && taken < limits.connections {
        return Step::Start(index);
    }
    let usual = if waiters.len() >= limits.waiting { LAST_PATIENCE } else { PATIENCE };
    let is_free = |place: &Place| place.patience(usual).is_some_and(|limit| age(place.since) >= limit);
    // Where an address has all the places that it may have, it makes room itself. Otherwise whoever has most does.
    let victim = counted()
        .filter(|place| own < limits.per_peer || place.origin == origin)
        .filter(|place| !is_silent && is_free(place))
        .map(|place| (of(&place.origin), place))
        .min_by_key(|(places, place)| (usize::MAX - places, place.since));
    match victim {
        Some((_, place)) if has_room_to_end => Step::End(place.id),
        _ if waiters.len() > limits.waiting => Step::Close(oldest_of_the_most(waiters)),
        _ => Step::Wait,
    }
}

/// The oldest waiter of the origin that has most of them.
fn oldest_of_the_most(waiters: &[Waiter]) -> usize {
    let by_origin = count(waiters.iter().map(|waiter| waiter.origin));
    let most = by_origin.values().max();
    waiters.iter().position(|waiter| by_origin.get(&waiter.origin) == most).unwrap_or_default()
}

fn count(origins: impl Iterator<Item = Origin>) -> HashMap<Origin, usize> {
    origins.fold(HashMap::new(), |mut counts, origin| {
        *counts.entry(origin).or_default() += 1;
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
        waiting: 3,
        opening: Duration::from_secs(5),
        opening_under_pressure: Duration::from_secs(2),
        write: Duration::from_secs(10),
        linger: Duration::from_secs(5),
    };

    fn origin(host: u8) -> Origin {
        Origin::of(IpAddr::from([10, 0, 0, host]))
    }

    /// Places and waiters at a time that is far enough from the beginning of the clock.
    struct Hall {
        now: Instant,
        places: Vec<Place>,
        waiters: Vec<Waiter>,
    }

    impl Hall {
        fn new() -> Self {
            Self { now: Instant::now() + Duration::from_secs(60), places: Vec::new(), waiters: Vec::new() }
        }

        /// One more place, whose phase has lasted for so many milliseconds; its number is how many were there.
        fn place(mut self, host: u8, phase: Phase, age_millis: u64) -> Self {
            let id = self.places.len() as u64;
            let since = self.now - Duration::from_millis(age_millis);
            let (is_known, is_ending) = (false, false);
            self.places.push(Place { id, origin: origin(host), phase, since, is_known, is_ending });
            self
        }

        fn known(mut self) -> Self {
            self.places.last_mut().unwrap().is_known = true;
            self
        }

        fn ending(mut self) -> Self {
            self.places.last_mut().unwrap().is_ending = true;
            self
        }

        fn waiter(mut self, host: u8, age_millis: u64) -> Self {
            let since = self.now - Duration::from_millis(age_millis);
            self.waiters.push(Waiter { origin: origin(host), since, has_spoken: true });
            self
        }

        fn silent(mut self) -> Self {
            self.waiters.last_mut().unwrap().has_spoken = false;
            self
        }

        fn next(&self) -> Step {
            next_step(&self.places, &self.waiters, &LIMITS, self.now)
        }
    }

    /// Four silent connections of four hosts, the second one the oldest.
    fn full() -> Hall {
        Hall::new()
            .place(1, Phase::Opening, 300)
            .place(2, Phase::Opening, 900)
            .place(3, Phase::Opening, 400)
            .place(4, Phase::Opening, 500)
    }

    #[test]
    fn who_waits_gets_a_free_place() {
        assert_eq!(Hall::new().waiter(1, 0).next(), Step::Start(0));
        assert_eq!(Hall::new().next(), Step::Wait);
    }

    #[test]
    fn of_a_full_server_the_oldest_that_keeps_it_waiting_goes() {
        assert_eq!(full().waiter(9, 0).next(), Step::End(1));
    }

    #[test]
    fn who_says_nothing_takes_nobodys_place_and_keeps_nobody_waiting() {
        assert_eq!(full().waiter(9, 0).silent().next(), Step::Wait);
        assert_eq!(full().waiter(9, 90).silent().waiter(8, 0).next(), Step::End(1));
        assert_eq!(Hall::new().waiter(9, 90).silent().waiter(8, 0).next(), Step::Start(1));
        assert_eq!(Hall::new().waiter(9, 90).silent().next(), Step::Start(0));
    }

    #[test]
    fn nobody_goes_while_nobody_waits() {
        assert_eq!(full().next(), Step::Wait);
    }

    #[test]
    fn one_that_has_only_just_come_has_time_to_speak() {
        let hall = (1..=4).fold(Hall::new(), |hall, host| hall.place(host, Phase::Opening, 249));
        assert_eq!(hall.waiter(9, 0).next(), Step::Wait);
    }

    #[test]
    fn a_request_that_is_being_served_is_never_ended() {
        let hall = (1..=4).fold(Hall::new(), |hall, host| hall.place(host, Phase::Serving, 3_600_000));
        assert_eq!(hall.waiter(9, 0).next(), Step::Wait);
    }

    #[test]
    fn one_with_the_right_certificate_is_never_ended_and_takes_nobodys_place() {
        let hall =
            Hall::new().place(1, Phase::Opening, 4_000).known().place(2, Phase::Closing, 4_000).known();
        let hall = hall.place(3, Phase::Serving, 0).place(4, Phase::Serving, 0).place(5, Phase::Serving, 0);
        assert_eq!(hall.waiter(9, 0).next(), Step::Start(0));
        let hall = Hall::new().place(1, Phase::Opening, 4_000).known();
        let hall = (2..=5).fold(hall, |hall, host| hall.place(host, Phase::Serving, 0));
        assert_eq!(hall.waiter(9, 0).next(), Step::Wait);
    }

    #[test]
    fn whoever_the_server_waits_for_can_lose_the_place() {
        for (phase, age_millis) in [
            (Phase::Opening, 250),
            (Phase::Reading, 250),
            (Phase::Receiving, 250),
            (Phase::Closing, 250),
            (Phase::Answering, 2_000),
        ] {
            let busy = (1..=3).fold(Hall::new(), |hall, host| hall.place(host, Phase::Serving, 9_000));
            assert_eq!(busy.place(4, phase, age_millis).waiter(9, 0).next(), Step::End(3), "{phase:?}");
            let busy = (1..=3).fold(Hall::new(), |hall, host| hall.place(host, Phase::Serving, 9_000));
            assert_eq!(busy.place(4, phase, age_millis - 1).waiter(9, 0).next(), Step::Wait, "{phase:?}");
        }
    }

    #[test]
    fn an_address_with_all_its_places_makes_room_itself() {
        let hall = Hall::new().place(1, Phase::Opening, 900).place(2, Phase::Opening, 400);
        assert_eq!(hall.place(2, Phase::Opening, 300).waiter(2, 0).next(), Step::End(1));
        let hall = Hall::new().place(1, Phase::Opening, 900).place(2, Phase::Serving, 400);
        assert_eq!(hall.place(2, Phase::Serving, 300).waiter(2, 0).next(), Step::Wait);
    }

    #[test]
    fn an_address_with_all_its_places_keeps_nobody_else_waiting() {
        let hall = Hall::new().place(2, Phase::Opening, 400).place(2, Phase::Opening, 300);
        assert_eq!(hall.waiter(2, 90).waiter(2, 80).waiter(3, 0).next(), Step::Start(2));
    }

    #[test]
    fn the_address_with_most_places_loses_one_although_another_ones_is_older() {
        let hall = Hall::new().place(1, Phase::Opening, 900).place(2, Phase::Opening, 300);
        let hall = hall.place(2, Phase::Opening, 400).place(3, Phase::Opening, 800);
        assert_eq!(hall.waiter(9, 0).next(), Step::End(2));
    }

    #[test]
    fn one_more_than_can_wait_is_closed_and_it_is_of_the_address_with_most() {
        let hall = (1..=4).fold(Hall::new(), |hall, host| hall.place(host, Phase::Serving, 0));
        let hall = hall.waiter(7, 90).waiter(8, 80).waiter(8, 70).waiter(9, 0);
        assert_eq!(hall.next(), Step::Close(1));
    }

    #[test]
    fn when_no_more_can_wait_there_is_hardly_any_patience() {
        let crowd = |age_millis| {
            let hall = (1..=4).fold(Hall::new(), |hall, host| hall.place(host, Phase::Opening, age_millis));
            hall.waiter(7, 3).waiter(8, 2).waiter(9, 1)
        };
        assert_eq!(crowd(10).next(), Step::End(0));
        assert_eq!(crowd(9).next(), Step::Wait);
    }

    #[test]
    fn whoever_does_not_finish_its_head_in_time_goes_and_sooner_under_pressure() {
        let calm = |age_millis| Hall::new().place(1, Phase::Opening, age_millis).place(2, Phase::Serving, 0);
        assert_eq!(calm(4_999).next(), Step::Wait);
        assert_eq!(calm(5_000).next(), Step::End(0));
        let pressed = |age_millis| calm(age_millis).place(3, Phase::Serving, 0);
        assert_eq!(pressed(1_999).next(), Step::Wait);
        assert_eq!(pressed(2_000).next(), Step::End(0));
    }

    #[test]
    fn who_waited_too_long_is_told() {
        let hall = (1..=4).fold(Hall::new(), |hall, host| hall.place(host, Phase::Serving, 0));
        assert_eq!(hall.waiter(8, 1_000).waiter(9, 5_000).next(), Step::Close(1));
    }

    #[test]
    fn what_was_ended_makes_room_at_once_but_not_without_bound() {
        let hall = full().ending().waiter(9, 0);
        assert_eq!(hall.next(), Step::Start(0));
        let many = (0..ENDING_MAX).fold(Hall::new(), |hall, _| hall.place(1, Phase::Opening, 900).ending());
        let many = (1..=4).fold(many, |hall, host| hall.place(host, Phase::Opening, 900));
        assert_eq!(many.waiter(9, 0).next(), Step::Wait);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_mapped_ones_are_ipv4() {
        let of = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_ne!(of("::1"), of("0.0.0.1"));
    }
}
