//! The bandwidth limits of running clones: the limit that each clone wishes, and its share of the budget for all clones.
//!
//! A ledger says which limit each pod may have at most: the one that it confirmed last, or one that was sent since. A limit
//! is raised only by what the ledger has left, so the sum of all limits stays within the budget, also while limits change,
//! if polls fail, and when clones start (docs/decisions/0015).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::protocol::limit_order::LimitOrder;
use decant_shared::protocol::units::Rate;

use crate::objects::{Key, Uid};
use crate::progress::page::LimitReading;
use crate::progress::shares::{ShareRequest, shares};

/// With a budget, pods start with this limit, until their first poll. It is reserved for each clone that may start.
pub const START: Rate = Rate(Rate::MIN_BYTES_PER_SEC);
/// For how long a pod whose limit is not known keeps others from being raised.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);
/// The shortest period over which the use of a share is judged.
const USE_PERIOD: Duration = Duration::from_secs(4);
/// A limiter that waits more than one part in this many of the time holds its clone back.
const HELD_BACK: u32 = 20;
/// A clone that uses almost nothing keeps this part of an equal share, to resume with.
const IDLE_PART: u64 = 32;

/// The highest sequence number that a page is believed to have: it leaves room for all later orders.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// The limits of all running clones.
#[derive(Debug)]
pub struct Bandwidth {
    budget: Option<Rate>,
    clones_max: u64,
    state: Mutex<HashMap<Key, CloneBandwidth>>,
}

/// The limit that a clone wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitWish {
    /// This limit; `None` for no limit.
    Limit(Option<Rate>),
    /// The text is not a limit: the previous limit stays.
    Wrong(String),
}

/// What follows from a wish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WishNews {
    /// Whether the pod is to be polled now.
    pub is_changed: bool,
    /// Whether the wish is a wrong one that was not reported yet.
    pub is_wrong: bool,
}

#[derive(Debug)]
struct CloneBandwidth {
    pod: Uid,
    wish: Option<Option<Rate>>,
    wrong: Option<String>,
    followed_at: Instant,
    pod_limit: PodLimit,
    /// The limit that was sent and not confirmed yet.
    sent: Option<Option<Rate>>,
    sequence: u64,
    /// Since when the page of the pod claims more than was ordered.
    excess_since: Option<Instant>,
    uses: VecDeque<UseSample>,
}

/// What is known about the limit that a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PodLimit {
    Unknown,
    /// The pod follows no orders: its image is an older one.
    Unmanaged,
    Confirmed(Option<Rate>),
}

#[derive(Debug, Clone, Copy)]
struct UseSample {
    at: Instant,
    limited_bytes: u64,
    waited: Duration,
}

impl CloneBandwidth {
    fn new(pod: &Uid, now: Instant) -> Self {
        Self {
            pod: pod.clone(),
            wish: None,
            wrong: None,
            followed_at: now,
            pod_limit: PodLimit::Unknown,
            sent: None,
            sequence: 0,
            excess_since: None,
            uses: VecDeque::new(),
        }
    }

    /// What counts as the limit of the pod if its page claims `claimed`. A pod may have missed one order. A page that
    /// claims more than was ordered for longer is forged, and must not keep other clones from being raised.
    fn credible(&mut self, claimed: Option<Rate>, now: Instant) -> Option<Rate> {
        let excess = self.sent.filter(|ordered| bytes(claimed) > bytes(*ordered));
        self.excess_since = excess.map(|_| self.excess_since.unwrap_or(now));
        let is_forged =
            self.excess_since.is_some_and(|since| now.saturating_duration_since(since) >= UNKNOWN_MAX);
        excess.filter(|_| is_forged).unwrap_or(claimed)
    }

    /// The highest limit that the pod may have now.
    fn possible(&self) -> u64 {
        let confirmed = match self.pod_limit {
            PodLimit::Unknown => START.0,
            PodLimit::Unmanaged => 0,
            PodLimit::Confirmed(limit) => bytes(limit),
        };
        self.sent.map_or(confirmed, |sent| confirmed.max(bytes(sent)))
    }

    fn request(&self, equal_share: u64) -> ShareRequest {
        let limit = bytes(self.wish.flatten());
        ShareRequest { limit, demand: self.demand(equal_share).max(START.0).min(limit.max(START.0)) }
    }

    /// What the clone is expected to use: everything if its limiter held it back recently, else a quarter more than
    /// it used.
    fn demand(&self, equal_share: u64) -> u64 {
        let (Some(first), Some(last)) = (self.uses.front(), self.uses.back()) else { return u64::MAX };
        let period = last.at.saturating_duration_since(first.at);
        let waited = last.waited.saturating_sub(first.waited);
        if period < USE_PERIOD || waited > period / HELD_BACK {
            return u64::MAX;
        }
        let used_bytes = u128::from(last.limited_bytes.saturating_sub(first.limited_bytes));
        let rate = used_bytes * 1000 / period.as_millis().max(1);
        u64::try_from(rate * 5 / 4).unwrap_or(u64::MAX).max(equal_share / IDLE_PART)
    }

    fn note_use(&mut self, sample: UseSample) {
        if self.uses.back().is_some_and(|last| last.limited_bytes > sample.limited_bytes) {
            // The process restarted.
            self.uses.clear();
        }
        self.uses.push_back(sample);
        // The period begins at the latest sample that is old enough.
        while self
            .uses
            .get(1)
            .is_some_and(|second| sample.at.saturating_duration_since(second.at) >= USE_PERIOD)
        {
            self.uses.pop_front();
        }
    }
}

impl Bandwidth {
    /// Shares `budget` among at most `clones_max` clones.
    pub fn new(budget: Option<Rate>, clones_max: u64) -> Self {
        Self { budget, clones_max, state: Mutex::default() }
    }

    /// The budget of all clones together.
    pub fn budget(&self) -> Option<Rate> {
        self.budget
    }

    /// Follows `pod`, which works for the clone `key`, from now on.
    pub fn follow(&self, key: &Key, pod: &Uid, now: Instant) {
        let mut state = self.lock();
        let clone = state.entry(key.clone()).or_insert_with(|| CloneBandwidth::new(pod, now));
        if clone.pod != *pod {
            let CloneBandwidth { wish, wrong, .. } = std::mem::replace(clone, CloneBandwidth::new(pod, now));
            (clone.wish, clone.wrong) = (wish, wrong);
        }
    }

    /// Notes what the clone `key` wishes, if it is followed.
    pub fn wish(&self, key: &Key, wish: &LimitWish) -> WishNews {
        let mut state = self.lock();
        let Some(clone) = state.get_mut(key) else { return WishNews::default() };
        match wish {
            LimitWish::Limit(limit) => {
                clone.wrong = None;
                let is_changed = clone.wish.replace(*limit).is_some_and(|previous| previous != *limit);
                WishNews { is_changed, is_wrong: false }
            }
            LimitWish::Wrong(text) => {
                let is_wrong = clone.wrong.replace(text.clone()).as_ref() != Some(text);
                WishNews { is_changed: false, is_wrong }
            }
        }
    }

    /// Forgets the clone `key`, which no longer runs. Its share is free.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The order to send with the next poll of the clone `key`; `None` to leave its limit as it is.
    pub fn order(&self, key: &Key, now: Instant, unix_millis: u64) -> Option<LimitOrder> {
        let mut state = self.lock();
        let limit = match self.budget {
            None => state.get(key)?.wish?,
            Some(Rate(budget)) => Some(Rate(granted(&state, key, budget, self.clones_max, now)?)),
        };
        let clone = state.get_mut(key)?;
        // What was sent and not confirmed may be in force as well.
        let highest = clone.sent.map_or(bytes(limit), |sent| bytes(sent).max(bytes(limit)));
        clone.sent = Some((highest != u64::MAX).then_some(Rate(highest)));
        clone.sequence = unix_millis.max(clone.sequence.saturating_add(1));
        Some(LimitOrder { sequence: clone.sequence, limit })
    }

    /// Notes the answer of the pod of the clone `key`. Returns whether to poll it again soon, because it can
    /// get its share only now that its limit is known.
    pub fn answered(&self, key: &Key, pod: &Uid, reading: Option<LimitReading>, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(clone) = state.get_mut(key).filter(|clone| clone.pod == *pod) else { return false };
        let Some(reading) = reading else {
            clone.pod_limit = PodLimit::Unmanaged;
            clone.sent = None;
            return false;
        };
        let was_known = clone.pod_limit != PodLimit::Unknown;
        clone.pod_limit = PodLimit::Confirmed(clone.credible(reading.limit, now));
        // A page can be forged. A number that leaves no higher one would end all later orders.
        clone.sequence = clone.sequence.max(reading.sequence.min(SEQUENCE_MAX));
        clone.sent = None;
        let LimitReading { limited_bytes, waited, .. } = reading;
        clone.note_use(UseSample { at: now, limited_bytes, waited });
        !was_known && self.budget.is_some()
    }

    /// The sum of the limits that pods have now, as far as they are known, in bytes per second.
    pub fn allotted(&self) -> u64 {
        let state = self.lock();
        let limits = state.values().filter_map(|clone| match clone.pod_limit {
            PodLimit::Confirmed(limit) => limit,
            PodLimit::Unknown | PodLimit::Unmanaged => None,
        });
        limits.fold(0, |sum, Rate(limit)| sum.saturating_add(limit))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, CloneBandwidth>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit that the clone `key` gets of `budget` now; `None` to leave its limit as it is, because it is not known yet.
fn granted(
    state: &HashMap<Key, CloneBandwidth>,
    key: &Key,
    budget: u64,
    clones_max: u64,
    now: Instant,
) -> Option<u64> {
    let PodLimit::Confirmed(confirmed) = state.get(key)?.pod_limit else { return None };
    let managed: Vec<(&Key, &CloneBandwidth)> =
        state.iter().filter(|(_, clone)| clone.pod_limit != PodLimit::Unmanaged).collect();
    let count = u64::try_from(managed.len()).unwrap_or(u64::MAX);
    let reserved = clones_max.saturating_sub(count).saturating_mul(START.0);
    let usable = budget.saturating_sub(reserved);
    let equal_share = usable / count.max(1);
    let requests: Vec<ShareRequest> = managed.iter().map(|(_, clone)| clone.request(equal_share)).collect();
    let index = managed.iter().position(|(other, _)| *other == key)?;
    let target = shares(usable, &requests).get(index).copied()?.max(START.0);
    let confirmed = bytes(confirmed);
    let waits_for_others = managed.iter().any(|(_, clone)| {
        clone.pod_limit == PodLimit::Unknown && now.saturating_duration_since(clone.followed_at) < UNKNOWN_MAX
    });
    if target <= confirmed || waits_for_others {
        return Some(target.min(confirmed));
    }
    let others = managed.iter().filter(|(other, _)| *other != key).map(|(_, clone)| clone.possible());
    let left = usable.saturating_sub(others.fold(0, u64::saturating_add));
    Some(target.min(left.max(confirmed)))
}

/// A limit as a number; no limit is the highest one.
fn bytes(limit: Option<Rate>) -> u64 {
    limit.map_or(u64::MAX, |Rate(bytes_per_sec)| bytes_per_sec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: u64 = 100 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    fn bandwidth(budget: Option<u64>) -> Bandwidth {
        Bandwidth::new(budget.map(Rate), 20)
    }

    fn key(number: usize) -> Key {
        Key::new("n", number.to_string())
    }

    #[test]
    fn a_forged_page_keeps_no_other_clone_from_its_share() {
        let bandwidth = bandwidth(Some(BUDGET));
        let begin = Instant::now();
        let names = [key(0), key(1)];
        let uid = |key: &Key| Uid::from(key.name.as_str());
        names.iter().for_each(|name| bandwidth.follow(name, &uid(name), begin));
        let mut honest = SimulatedPod::new(BUDGET);
        for second in 0..40 {
            let now = begin + SECOND * second;
            bandwidth.order(&names[0], now, 1);
            let forged = LimitReading { limit: None, ..SimulatedPod::new(0).take(None) };
            bandwidth.answered(&names[0], &uid(&names[0]), Some(forged), now);
            honest.run(SECOND);
            let reading = honest.take(bandwidth.order(&names[1], now, 1));
            bandwidth.answered(&names[1], &uid(&names[1]), Some(reading), now);
        }
        assert!(bytes(honest.limit) > BUDGET / 3, "{:?}", honest.limit);
    }

    /// A pod that follows orders, and can send at most `capacity`.
    #[derive(Debug, Clone)]
    struct SimulatedPod {
        limit: Option<Rate>,
        sequence: u64,
        capacity: u64,
        bytes: u64,
        waited: Duration,
    }

    impl SimulatedPod {
        fn new(capacity: u64) -> Self {
            Self { limit: Some(START), sequence: 0, capacity, bytes: 0, waited: Duration::ZERO }
        }

        fn rate(&self) -> u64 {
            bytes(self.limit).min(self.capacity)
        }

        fn run(&mut self, time: Duration) {
            self.bytes += self.rate() * u64::try_from(time.as_millis()).unwrap() / 1000;
            if bytes(self.limit) < self.capacity {
                self.waited += time / 2;
            }
        }

        fn take(&mut self, order: Option<LimitOrder>) -> LimitReading {
            if let Some(order) = order.filter(|order| order.sequence > self.sequence) {
                (self.limit, self.sequence) = (order.limit, order.sequence);
            }
            let Self { limit, sequence, bytes, waited, .. } = *self;
            LimitReading { limit, sequence, limited_bytes: bytes, waited }
        }
    }

    struct World {
        bandwidth: Bandwidth,
        pods: Vec<Option<SimulatedPod>>,
        now: Instant,
        millis: u64,
    }

    impl World {
        fn new(budget: Option<u64>) -> Self {
            Self { bandwidth: bandwidth(budget), pods: Vec::new(), now: Instant::now(), millis: 1000 }
        }

        fn start(&mut self, capacity: u64, wish: Option<u64>) -> usize {
            let number = self.pods.len();
            self.pods.push(Some(SimulatedPod::new(capacity)));
            self.follow(number);
            self.wish(number, wish);
            number
        }

        fn follow(&self, number: usize) {
            self.bandwidth.follow(&key(number), &Uid::from("pod"), self.now);
        }

        fn wish(&self, number: usize, wish: Option<u64>) -> WishNews {
            self.bandwidth.wish(&key(number), &LimitWish::Limit(wish.map(Rate)))
        }

        fn end(&mut self, number: usize) {
            self.pods[number] = None;
            self.bandwidth.forget(&key(number));
        }

        /// A poll; without an answer if `is_answered` is false.
        fn poll(&mut self, number: usize, is_answered: bool) {
            let order = self.bandwidth.order(&key(number), self.now, self.millis);
            let Some(pod) = &mut self.pods[number] else { return };
            let reading = pod.take(order);
            if is_answered {
                self.bandwidth.answered(&key(number), &Uid::from("pod"), Some(reading), self.now);
            }
        }

        fn poll_all(&mut self) {
            (0..self.pods.len()).for_each(|number| self.poll(number, true));
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.millis += u64::try_from(time.as_millis()).unwrap();
            self.pods.iter_mut().flatten().for_each(|pod| pod.run(time));
        }

        fn sum(&self) -> u64 {
            self.pods.iter().flatten().fold(0, |sum, pod| sum.saturating_add(bytes(pod.limit)))
        }

        fn limit(&self, number: usize) -> Option<u64> {
            self.pods[number].as_ref().and_then(|pod| pod.limit).map(|Rate(limit)| limit)
        }
    }

    #[test]
    fn without_a_budget_each_clone_gets_its_wish() {
        let mut world = World::new(None);
        let number = world.start(u64::MAX, Some(50_000));
        world.poll(number, true);
        assert_eq!(world.limit(number), Some(50_000));
        assert_eq!(world.wish(number, None), WishNews { is_changed: true, is_wrong: false });
        world.poll(number, true);
        assert_eq!(world.limit(number), None);
    }

    #[test]
    fn a_wrong_wish_is_reported_once_and_changes_nothing() {
        let mut world = World::new(None);
        let number = world.start(u64::MAX, Some(50_000));
        let wrong = LimitWish::Wrong("fast".to_owned());
        let news = || world.bandwidth.wish(&key(number), &wrong);
        assert_eq!(news(), WishNews { is_changed: false, is_wrong: true });
        assert_eq!(news(), WishNews::default());
        world.poll(number, true);
        assert_eq!(world.limit(number), Some(50_000));
    }

    #[test]
    fn twenty_clones_use_the_whole_budget_after_two_polls() {
        let mut world = World::new(Some(BUDGET));
        (0..20).for_each(|_| {
            world.start(u64::MAX, None);
        });
        for _ in 0..2 {
            world.poll_all();
            world.pass(2 * SECOND);
        }
        assert_eq!(world.sum(), BUDGET);
        assert_eq!(world.limit(7), Some(BUDGET / 20));
    }

    #[test]
    fn a_new_clone_gets_its_share_after_the_others_shrank() {
        let mut world = World::new(Some(BUDGET));
        let first = world.start(u64::MAX, None);
        (0..2).for_each(|_| world.poll_all());
        assert_eq!(world.limit(first), Some(BUDGET - 19 * START.0));
        let second = world.start(u64::MAX, None);
        world.poll(second, true);
        world.poll(second, true);
        assert_eq!(world.limit(second), Some(START.0), "the first has not shrunk yet");
        world.poll(first, true);
        world.poll(second, true);
        assert_eq!(world.limit(first), world.limit(second));
        world.end(first);
        world.poll(second, true);
        assert_eq!(world.limit(second), Some(BUDGET - 19 * START.0));
    }

    #[test]
    fn what_a_slow_clone_leaves_goes_to_the_others_and_comes_back() {
        let mut world = World::new(Some(BUDGET));
        let (slow, fast) = (world.start(4 << 20, None), world.start(u64::MAX, None));
        for _ in 0..6 {
            world.poll_all();
            world.pass(2 * SECOND);
        }
        assert_eq!(world.limit(slow), Some(5 << 20), "a quarter more than it uses");
        assert_eq!(world.limit(fast), Some(BUDGET - 18 * START.0 - (5 << 20)));
        world.pods[slow].as_mut().unwrap().capacity = u64::MAX;
        for _ in 0..4 {
            world.pass(2 * SECOND);
            world.poll_all();
        }
        assert_eq!(world.limit(slow), world.limit(fast), "two polls later both have the same");
    }

    #[test]
    fn a_new_leader_raises_nothing_before_it_knows_all_limits() {
        let mut world = World::new(Some(BUDGET));
        (0..2).for_each(|_| {
            world.start(u64::MAX, None);
        });
        (0..3).for_each(|_| world.poll_all());
        let before = world.sum();
        world.bandwidth = bandwidth(Some(BUDGET));
        for number in 0..2 {
            world.follow(number);
            // The first has finished half of its work, and the second wishes little.
            world.wish(number, (number == 1).then_some(1 << 20));
        }
        world.poll(0, true);
        world.poll(0, true);
        assert!(world.sum() <= before, "the limit of the second is not known");
        world.poll(1, true);
        world.poll(0, true);
        assert_eq!(world.sum(), before, "the second has not shrunk yet");
        world.poll(1, true);
        world.poll(0, true);
        assert_eq!(world.limit(0), Some(BUDGET - 18 * START.0 - (1 << 20)));
    }

    #[test]
    fn a_pod_of_an_older_version_has_no_share() {
        let mut world = World::new(Some(BUDGET));
        let (old, new) = (world.start(u64::MAX, None), world.start(u64::MAX, None));
        world.bandwidth.answered(&key(old), &Uid::from("pod"), None, world.now);
        assert_eq!(world.bandwidth.order(&key(old), world.now, 0), None);
        (0..2).for_each(|_| world.poll(new, true));
        assert_eq!(world.limit(new), Some(BUDGET - 19 * START.0));
    }

    #[test]
    fn numbers_of_orders_grow_even_if_the_clock_is_behind_that_of_the_previous_leader() {
        let mut world = World::new(None);
        let number = world.start(u64::MAX, Some(50_000));
        world.pods[number].as_mut().unwrap().sequence = 1 << 50;
        world.poll(number, true);
        assert_eq!(world.limit(number), Some(START.0), "ignored");
        world.poll(number, true);
        assert_eq!(world.limit(number), Some(50_000));
    }

    #[derive(Debug, Clone)]
    enum Happening {
        Start { capacity: u64, wish: Option<u64> },
        Poll { number: usize, is_answered: bool },
        Wish { number: usize, wish: Option<u64> },
        End { number: usize },
        Restart { number: usize },
        Pass(u64),
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let wish = || prop::option::of(4096_u64..BUDGET * 2);
        let number = || 0_usize..20;
        let happening = prop_oneof![
            2 => (1_u64..BUDGET * 2, wish()).prop_map(|(capacity, wish)| Happening::Start { capacity, wish }),
            12 => (number(), prop::bool::weighted(0.8))
                .prop_map(|(number, is_answered)| Happening::Poll { number, is_answered }),
            2 => (number(), wish()).prop_map(|(number, wish)| Happening::Wish { number, wish }),
            1 => number().prop_map(|number| Happening::End { number }),
            1 => number().prop_map(|number| Happening::Restart { number }),
            4 => (1_u64..4000).prop_map(Happening::Pass),
        ];
        prop::collection::vec(happening, 1..150)
    }

    proptest! {
        /// Whatever happens, in whatever order, with lost answers and restarts of pods.
        #[test]
        fn the_limits_in_all_pods_never_exceed_the_budget(happenings in happenings()) {
            let mut world = World::new(Some(BUDGET));
            for happening in happenings {
                match happening {
                    Happening::Start { capacity, wish } if world.pods.len() < 20 => {
                        world.start(capacity, wish);
                    }
                    Happening::Poll { number, is_answered } if number < world.pods.len() => {
                        world.poll(number, is_answered);
                    }
                    Happening::Wish { number, wish } => drop(world.wish(number, wish)),
                    Happening::End { number } if number < world.pods.len() => world.end(number),
                    Happening::Restart { number } if number < world.pods.len() => {
                        if let Some(pod) = &mut world.pods[number] {
                            *pod = SimulatedPod::new(pod.capacity);
                        }
                    }
                    Happening::Pass(millis) => world.pass(Duration::from_millis(millis)),
                    _ => {}
                }
                prop_assert!(world.sum() <= BUDGET, "{} of {BUDGET}", world.sum());
            }
        }
    }
}
