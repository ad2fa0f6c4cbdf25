//! Parallel work with results in order, without sequence numbers or a reorder buffer.
//!
//! Item `i` goes into lane `i mod n`. The worker of that lane returns exactly one result for each item, and results are
//! collected from the lanes in turn. The end of the data is a [`Message`], so it arrives after all items. A lane that
//! closes without this message means that a thread failed: it is never the end of the data.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::error::{Error, Result};

/// The number of items that wait in each lane, and of results that wait after each worker. Two keep a worker busy while
/// its neighbours are slower. More would take another block of memory per lane, without a measurable gain.
pub const LANE_DEPTH: usize = 2;

/// What a channel carries. Only `End` is the end of the data: a closed channel is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<T> {
    /// More data.
    Item(T),
    /// The data is complete.
    End,
}

/// Deals items to the lanes in turn.
pub struct Deal<T> {
    lanes: Vec<Sender<Message<T>>>,
    next: usize,
    neighbour: &'static str,
}

/// Collects results from the lanes in the same order.
pub struct Collect<T> {
    lanes: Vec<Receiver<Message<T>>>,
    next: usize,
    neighbour: &'static str,
}

/// The two channel ends of one worker.
pub struct Lane<I, O> {
    input: Receiver<Message<I>>,
    output: Sender<Message<O>>,
}

/// Makes `count` lanes (at least one): the dealer, the workers' ends, the collector. `neighbour` is the name of the
/// workers in messages.
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

/// Makes a dealer to `count` lanes, and the other end of each lane. Each lane holds up to `depth` items. `neighbour` is
/// the name of the receivers in messages.
pub fn fan_out<T>(count: usize, depth: usize, neighbour: &'static str) -> (Deal<T>, Vec<Collect<T>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count.max(1)).map(|_| bounded(depth)).unzip();
    let one = |lane| Collect { lanes: vec![lane], next: 0, neighbour: "dealer" };
    (Deal { lanes: senders, next: 0, neighbour }, receivers.into_iter().map(one).collect())
}

impl<T> Deal<T> {
    /// Sends `item` to the next lane. Waits while the lane is full.
    pub fn send(&mut self, item: T) -> Result<()> {
        self.pass(Message::Item(item))
    }

    /// Tells every lane that the data is complete.
    pub fn end(&mut self) -> Result<()> {
        (0..self.lanes.len()).try_for_each(|_| self.pass(Message::End))
    }

    fn pass(&mut self, message: Message<T>) -> Result<()> {
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % self.lanes.len();
        lane.send(message).map_err(|_| Error::neighbour(self.neighbour))
    }
}

impl<T> Collect<T> {
    /// The next result in order; `None` at the end of the data. A lane that closes without an end is an error of the
    /// kind [`Kind::Neighbour`](crate::error::Kind::Neighbour).
    pub fn receive(&mut self) -> Result<Option<T>> {
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % self.lanes.len();
        match lane.recv() {
            Ok(Message::Item(item)) => Ok(Some(item)),
            Ok(Message::End) => Ok(None),
            Err(_) => Err(Error::neighbour(self.neighbour)),
        }
    }
}

impl<I, O> Lane<I, O> {
    /// Runs `work` on each item and sends its result, until the end of the data or until the lane closes. If the lane
    /// closes, the thread that failed reports the reason. `taker` is the name of the receiver of the results in
    /// messages.
    pub fn run(&self, taker: &'static str, mut work: impl FnMut(I) -> Result<O>) -> Result<()> {
        for message in &self.input {
            let Message::Item(item) = message else {
                // The receiver may have got the end from another lane already, and have exited.
                let _ = self.output.send(Message::End);
                return Ok(());
            };
            self.output.send(Message::Item(work(item)?)).map_err(|_| Error::neighbour(taker))?;
        }
        Ok(())
    }

    /// Whether the receiver has taken all results of this lane.
    pub fn is_awaited(&self) -> bool {
        self.output.is_empty()
    }
}

/// A pool of used buffers. It never waits: an empty pool makes a new buffer, and a full pool drops the returned one.
/// Only the channels limit the number of buffers.
#[derive(Debug)]
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
    /// A pool that keeps at most as many buffers as `lanes` lanes can hold.
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
                    lane.run("taker", |item| {
                        if item % 3 == 0 {
                            std::thread::yield_now();
                        }
                        Ok(item * 2)
                    })
                });
            }
            scope.spawn(move || {
                (0..1000).for_each(|item| deal.send(item).unwrap());
                deal.end().unwrap();
            });
            let results: Vec<u32> = std::iter::from_fn(|| collect.receive().unwrap()).collect();
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
