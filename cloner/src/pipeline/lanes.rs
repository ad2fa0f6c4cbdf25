//! Work in parallel, results in order, without numbers or a reorder buffer.
//!
//! Item `i` goes into lane `i mod n`, where one worker takes it and puts exactly one result out; results are
//! collected from the lanes in turn. The end is a message like any other and so arrives after everything that
//! went before it. A lane that closes without it means that a thread failed: never the end of the data.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::error::{Error, Result};

/// Items waiting in each lane, and results waiting behind each worker. Two keep a worker busy while its
/// neighbours are slower; every one more costs a block of memory per lane and bought nothing measurable.
pub const LANE_DEPTH: usize = 2;

/// Deals items to the lanes in turn.
pub struct Deal<T> {
    lanes: Vec<Sender<T>>,
    next: usize,
    neighbour: &'static str,
}

/// Collects results from the lanes in the same turn.
pub struct Collect<T> {
    lanes: Vec<Receiver<T>>,
    next: usize,
    neighbour: &'static str,
}

/// One worker's ends.
pub struct Lane<I, O> {
    /// What to work on.
    pub input: Receiver<I>,
    /// Where results go.
    pub output: Sender<O>,
}

/// Makes `count` lanes (at least one): what deals, the workers' ends, what collects. `neighbour` names the
/// workers for messages.
pub fn lanes<I, O>(count: usize, neighbour: &'static str) -> (Deal<I>, Vec<Lane<I, O>>, Collect<O>) {
    let mut deal = Deal { lanes: Vec::new(), next: 0, neighbour };
    let mut collect = Collect { lanes: Vec::new(), next: 0, neighbour };
    let mut workers = Vec::new();
    for _ in 0..count.max(1) {
        let (to_worker, input) = bounded(LANE_DEPTH);
        let (output, from_worker) = bounded(LANE_DEPTH);
        deal.lanes.push(to_worker);
        collect.lanes.push(from_worker);
        workers.push(Lane { input, output });
    }
    (deal, workers, collect)
}

/// What deals to `count` lanes in turn, and the other end of each. `depth` items can wait in each; `neighbour` names who
/// takes them.
pub fn fan_out<T>(count: usize, depth: usize, neighbour: &'static str) -> (Deal<T>, Vec<Collect<T>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count.max(1)).map(|_| bounded(depth)).unzip();
    let one = |lane| Collect { lanes: vec![lane], next: 0, neighbour: "dealer" };
    (Deal { lanes: senders, next: 0, neighbour }, receivers.into_iter().map(one).collect())
}

impl<T> Deal<T> {
    /// Hands `item` to the next lane, waiting for room in it.
    pub fn send(&mut self, item: T) -> Result<()> {
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % self.lanes.len();
        lane.send(item).map_err(|_| Error::neighbour(self.neighbour))
    }

    /// Hands one item to every lane.
    pub fn send_each(&mut self, item: impl Fn() -> T) -> Result<()> {
        (0..self.lanes.len()).try_for_each(|_| self.send(item()))
    }
}

impl<T> Collect<T> {
    /// The next result in order.
    pub fn receive(&mut self) -> Result<T> {
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % self.lanes.len();
        lane.recv().map_err(|_| Error::neighbour(self.neighbour))
    }
}

/// Used buffers on their way back. Never waits: an empty pool makes a new one, a full pool drops one, and the
/// channels alone bound how many there can be.
pub struct Pool<T> {
    give: Sender<T>,
    take: Receiver<T>,
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { give: self.give.clone(), take: self.take.clone() }
    }
}

impl<T: Default> Pool<T> {
    /// A pool that keeps at most as many buffers as `lanes` lanes can have in flight.
    pub fn for_lanes(lanes: usize) -> Self {
        let (give, take) = bounded(lanes.max(1) * (LANE_DEPTH + 1) + 1);
        Self { give, take }
    }

    /// A used buffer, or a new one.
    pub fn take(&self) -> T {
        self.take.try_recv().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: T) {
        if let Err(TrySendError::Full(surplus) | TrySendError::Disconnected(surplus)) =
            self.give.try_send(buffer)
        {
            drop(surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let (mut deal, workers, mut collect) = lanes::<u32, u32>(3, "worker");
        std::thread::scope(|scope| {
            for lane in workers {
                scope.spawn(move || {
                    for item in lane.input {
                        if item % 3 == 0 {
                            std::thread::yield_now();
                        }
                        lane.output.send(item * 2).unwrap();
                    }
                });
            }
            scope.spawn(move || (0..1000).for_each(|item| deal.send(item).unwrap()));
            let results: Vec<u32> = (0..1000).map(|_| collect.receive().unwrap()).collect();
            assert_eq!(results, (0..1000).map(|item| item * 2).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_lane_that_closes_without_an_end_is_a_failure() {
        let (deal, workers, mut collect) = lanes::<u32, u32>(2, "worker");
        drop((deal, workers));
        assert!(collect.receive().is_err());
    }
}
