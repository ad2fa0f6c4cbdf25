//! Work in parallel, results in order, without numbers or a reorder buffer.
//!
//! Item `i` goes into lane `i mod n`, where one worker takes it and puts exactly one result out; results are
//! collected from the lanes in turn. The end of the data is a [`Message`] and so arrives after all items. A lane that
//! closes without it means that a thread failed: never the end of the data.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::error::{Error, Result};

/// Items that wait in each lane, and results that wait after each worker. Two keep a worker busy while its
/// neighbours are slower; more cost a block of memory per lane and brought nothing measurable.
pub const LANE_DEPTH: usize = 2;

/// What a channel carries. A closed channel is not the end of the data: only this message is.
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

/// Collects results from the lanes in the same turn.
pub struct Collect<T> {
    lanes: Vec<Receiver<Message<T>>>,
    next: usize,
    neighbour: &'static str,
}

/// One worker's ends.
pub struct Lane<I, O> {
    input: Receiver<Message<I>>,
    output: Sender<Message<O>>,
}

/// Makes `count` lanes (at least one): the dealer, the workers' ends, the collector. `neighbour` names the
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

/// A dealer to `count` lanes, and the other end of each lane. `depth` items can wait in each; `neighbour` names the
/// receivers in messages.
pub fn fan_out<T>(count: usize, depth: usize, neighbour: &'static str) -> (Deal<T>, Vec<Collect<T>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count.max(1)).map(|_| bounded(depth)).unzip();
    let one = |lane| Collect { lanes: vec![lane], next: 0, neighbour: "dealer" };
    (Deal { lanes: senders, next: 0, neighbour }, receivers.into_iter().map(one).collect())
}

impl<T> Deal<T> {
    /// Hands `item` to the next lane, waiting for room in it.
    pub fn send(&mut self, item: T) -> Result<()> {
        self.pass(Message::Item(item))
    }

    /// The data is complete: tells every lane.
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
    /// The next result in order; `None` at the end of the data. A lane that closed without the end is
    /// [`Kind::Neighbour`](crate::error::Kind::Neighbour).
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
    /// Runs `work` on each item and hands on its result, until the end of the data or until the lane closes: then the
    /// thread that failed reports why. `taker` names the receiver of the results in messages.
    pub fn run(&self, taker: &'static str, mut work: impl FnMut(I) -> Result<O>) -> Result<()> {
        for message in &self.input {
            let Message::Item(item) = message else {
                // The taker may have the end from another lane already and be gone.
                let _ = self.output.send(Message::End);
                return Ok(());
            };
            self.output.send(Message::Item(work(item)?)).map_err(|_| Error::neighbour(taker))?;
        }
        Ok(())
    }

    /// Whether the taker has no result of this lane left to take.
    pub fn is_awaited(&self) -> bool {
        self.output.is_empty()
    }
}

/// Used buffers on their way back. Never waits: an empty pool makes a new buffer, a full pool drops one. Only the
/// channels limit how many there can be.
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
