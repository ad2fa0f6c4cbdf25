//! A clone over several connections (docs/protocol.md section 6.5): the first connection opens it, the others join, and
//! their packs are put back into one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::stream_id::StreamId;

use crate::error::{Error, Kind, Result};
use crate::pipeline::lanes::{Deal, LANE_DEPTH, Message, Pool};
use crate::receive::REPLACED;
use crate::snappy::split::Pack;

/// How long the other connections may take to join: a source gives each 20 s for its handshake.
const JOIN: Duration = Duration::from_secs(30);
/// How long a follower connection waits for the outcome. A source waits for an hour.
const OUTCOME: Duration = Duration::from_secs(2 * 3600);
/// The same after the process was asked to stop: longer than the process waits for a transfer to end.
const OUTCOME_ON_STOP: Duration = Duration::from_secs(20);

/// Status and text for a follower connection.
pub type FollowerAnswer = (u16, String);

/// An open clone, as the connections that may join it see it.
#[derive(Debug)]
pub struct OpenStreams {
    clone: u64,
    count: usize,
    /// An item is `None` once a connection has taken its slot.
    slots: Vec<Option<StreamSlot>>,
    joined: Arc<[AtomicBool]>,
    is_over: Arc<AtomicBool>,
}

/// The channel ends of one connection.
#[derive(Debug)]
pub struct StreamSlot {
    /// Takes the connection's packs.
    pub packs_out: Sender<Message<Pack>>,
    /// Takes the reason why no more packs will come.
    pub failures: Sender<Error>,
    /// Used packs.
    pub packs: Pool<Pack>,
    /// The answer for this connection, once it is known.
    answer: Receiver<FollowerAnswer>,
    is_over: Arc<AtomicBool>,
}

/// The parts of all connections. When this is dropped, the connections see that the clone is over.
pub struct Streams {
    /// The slot of the first connection.
    pub first: Option<StreamSlot>,
    /// Used packs.
    pub packs: Pool<Pack>,
    inputs: Vec<Receiver<Message<Pack>>>,
    /// One channel for all connections, so that the failure of any connection ends the wait for the others.
    failures: Receiver<Error>,
    /// Keeps that channel open.
    _failed: Sender<Error>,
    answers: Vec<Sender<FollowerAnswer>>,
    joined: Arc<[AtomicBool]>,
    is_over: Arc<AtomicBool>,
    opened: Instant,
    /// The stop token of the first connection. It is set when another source replaces this one.
    connection: Stop,
}

/// Opens the clone whose first connection is `lead`. `connection` is the stop token of that connection.
pub fn open(lead: StreamId, connection: Stop) -> (Streams, OpenStreams) {
    let is_over = Arc::<AtomicBool>::default();
    let joined: Arc<[AtomicBool]> = (0..lead.count).map(|index| AtomicBool::new(index == 0)).collect();
    let packs = Pool::for_lanes(lead.count);
    let (failed, failures) = bounded(lead.count);
    let mut slots = Vec::new();
    let mut inputs = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..lead.count {
        let (packs_out, input) = bounded(LANE_DEPTH);
        let (answer_out, answer) = bounded(1);
        slots.push(Some(StreamSlot {
            packs_out,
            failures: failed.clone(),
            packs: packs.clone(),
            answer,
            is_over: Arc::clone(&is_over),
        }));
        inputs.push(input);
        answers.push(answer_out);
    }
    let streams = Streams {
        first: slots[0].take(),
        packs,
        inputs,
        failures,
        _failed: failed,
        answers,
        joined: Arc::clone(&joined),
        is_over: Arc::clone(&is_over),
        opened: Instant::now(),
        connection,
    };
    (streams, OpenStreams { clone: lead.attempt, count: lead.count, slots, joined, is_over })
}

impl OpenStreams {
    /// The slot of a follower connection; `None` if the clone does not wait for it.
    pub fn join(&mut self, stream: StreamId) -> Option<StreamSlot> {
        let is_of_clone = stream.attempt == self.clone && stream.count == self.count;
        if !is_of_clone || self.is_over.load(Ordering::Acquire) {
            return None;
        }
        let slot = self.slots.get_mut(stream.index)?.take()?;
        self.joined[stream.index].store(true, Ordering::Release);
        Some(slot)
    }
}

impl StreamSlot {
    /// Whether packs are no longer accepted.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether the answer is known.
    pub fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Waits for the answer. After `stop` is set, the transfer has a moment to end.
    pub fn wait_for_answer(&self, stop: &Stop) -> FollowerAnswer {
        let given_up = || (503, "the clone was given up".to_owned());
        let mut deadline = Instant::now() + OUTCOME;
        let mut is_stopping = false;
        while Instant::now() < deadline {
            match self.answer.recv_timeout(STOP_TICK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return given_up(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if stop.is_set() && !is_stopping {
                is_stopping = true;
                deadline = Instant::now() + OUTCOME_ON_STOP;
            }
        }
        given_up()
    }
}

impl Streams {
    /// Forwards all packs in the order in which the source dealt them, until all connections end.
    pub fn merge(&self, deal: &mut Deal<Pack>, stop: &Stop) -> Result<()> {
        let count = self.inputs.len();
        for turn in 0_u64.. {
            let index = usize::try_from(turn % count as u64).unwrap_or(0);
            let mut has_begun = false;
            loop {
                match self.next(index, stop)? {
                    Message::Item(pack) => {
                        let end = pack.turn()?;
                        deal.send(pack)?;
                        match end {
                            Some(number) if number == turn => break,
                            Some(number) => return Err(out_of_turn(index, number, turn)),
                            None => has_begun = true,
                        }
                    }
                    Message::End if has_begun => {
                        return Err(Error::damaged(format!("stream {index} ends within a turn")));
                    }
                    Message::End => return self.all_end(index, stop),
                }
            }
        }
        Ok(())
    }

    /// Gives all connections but the first their answer. Only the first one gets the reason of a failure.
    pub fn answer(self, has_succeeded: bool) {
        for answer in &self.answers[1..] {
            // A connection that broke does not receive it.
            let _ = answer.try_send(match has_succeeded {
                true => (200, String::new()),
                false => (503, "the clone failed; its first connection is told why".to_owned()),
            });
        }
    }

    /// Accepts no more packs, and lets no connection join.
    pub fn end(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.inputs.clear();
    }

    /// Checks that the other connections end where stream `index` has ended.
    fn all_end(&self, index: usize, stop: &Stop) -> Result<()> {
        for other in (0..self.inputs.len()).filter(|&other| other != index) {
            match self.next(other, stop)? {
                Message::End => {}
                Message::Item(_) => {
                    return Err(Error::damaged(format!(
                        "stream {other} continues after the end of stream {index}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn next(&self, index: usize, stop: &Stop) -> Result<Message<Pack>> {
        loop {
            select! {
                recv(self.inputs[index]) -> message => {
                    return message.map_err(|_| Error::neighbour("connection"));
                }
                recv(self.failures) -> failure => {
                    return Err(failure.unwrap_or_else(|_| Error::neighbour("connection")));
                }
                default(STOP_TICK) => {}
            }
            Error::check(stop)?;
            if self.connection.is_set() {
                return Err(Error::new(Kind::Stalled, REPLACED));
            }
            if self.opened.elapsed() > JOIN && !self.joined[index].load(Ordering::Acquire) {
                let text = format!("stream {index} did not connect within {} s", JOIN.as_secs());
                return Err(Error::new(Kind::HungUp, text));
            }
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.end();
    }
}

fn out_of_turn(index: usize, number: u64, turn: u64) -> Error {
    Error::damaged(format!("stream {index} sent turn {number} instead of turn {turn}"))
}

#[cfg(test)]
mod tests;
