//! Where the connections of a clone that has several meet (docs/protocol.md, 6.5): the first one opens the meeting, the
//! others join it, and what they bring is put back into one order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::stream_id::StreamId;

use crate::error::{Error, Kind, Result};
use crate::pipeline::lanes::{Deal, LANE_DEPTH, Pool};
use crate::receive::decompress::PackMessage;
use crate::snappy::split::Pack;

/// How long the others may take to join: a source gives each 20 s for its handshake.
const JOIN: Duration = Duration::from_secs(30);

/// What a connection hands over.
pub enum StreamMessage {
    /// Whole frames.
    Pack(Pack),
    /// The body was complete.
    End,
}

/// Status and text for a connection that follows.
pub type Answer = (u16, String);

/// The place at which connections meet.
#[derive(Default)]
pub struct MultiConnection(Mutex<Option<Open>>);

struct Open {
    clone: u64,
    count: usize,
    /// Those that nobody has taken.
    places: Vec<Option<StreamSlot>>,
}

/// What one connection needs to bring its part.
pub struct StreamSlot {
    /// Where its packs go.
    pub parcels: Sender<StreamMessage>,
    /// Where it goes why there will be no more.
    pub failures: Sender<Error>,
    /// Used packs.
    pub packs: Pool<Pack>,
    /// What to answer, when it is known.
    pub answer: Receiver<Answer>,
    is_over: Arc<AtomicBool>,
}

/// The parts of all connections. When it is dropped, they are told that it is over.
pub struct Streams {
    /// The place of the first one.
    pub first: Option<StreamSlot>,
    /// Used packs.
    pub packs: Pool<Pack>,
    parcels: Vec<Receiver<StreamMessage>>,
    /// Of all of them, so that none is waited for where another one broke.
    failures: Receiver<Error>,
    /// Keeps that open.
    _failed: Sender<Error>,
    answers: Vec<Sender<Answer>>,
    is_over: Arc<AtomicBool>,
    opened: Instant,
    /// Of the first connection: it is cancelled when another source takes the place.
    connection: Stop,
}

impl MultiConnection {
    /// Opens it for the connections of `lead`'s clone.
    pub fn open(&self, lead: StreamId, connection: Stop) -> Streams {
        let (is_over, packs) = (Arc::<AtomicBool>::default(), Pool::for_lanes(lead.count));
        let (mut places, mut all_parcels, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let (failed, failures) = bounded(lead.count);
        for _ in 0..lead.count {
            let failed = failed.clone();
            let ((parcels, from_place), (to_place, answer)) = (bounded(LANE_DEPTH), bounded(1));
            let (packs, is_over) = (packs.clone(), Arc::clone(&is_over));
            places.push(Some(StreamSlot { parcels, failures: failed, packs, answer, is_over }));
            all_parcels.push(from_place);
            answers.push(to_place);
        }
        let first = places[0].take();
        *self.lock() = Some(Open { clone: lead.attempt, count: lead.count, places });
        let opened = Instant::now();
        Streams {
            first,
            packs,
            parcels: all_parcels,
            failures,
            _failed: failed,
            answers,
            is_over,
            opened,
            connection,
        }
    }

    /// The place of a connection that follows; `None` when nobody waits for it.
    pub fn join(&self, stream: StreamId) -> Option<StreamSlot> {
        let mut open = self.lock();
        let open = open.as_mut().filter(|open| open.clone == stream.attempt && open.count == stream.count)?;
        open.places.get_mut(stream.index)?.take()
    }

    /// Nobody can join any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn is_awaited(&self, index: usize) -> bool {
        self.lock().as_ref().is_some_and(|open| open.places[index].is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // A plain value: it is right even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamSlot {
    /// Whether nobody takes packs any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether it is known what to answer.
    pub fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// What to answer.
    pub fn wait_for_answer(&self) -> Answer {
        // Whoever leads always ends: its waits have limits.
        let nobody = |_| (503, "the clone was given up".to_owned());
        self.answer.recv().unwrap_or_else(nobody)
    }
}

impl Streams {
    /// Hands everything on in the order in which the source dealt it, until all of them end.
    pub fn merge(
        &self,
        multi_connection: &MultiConnection,
        deal: &mut Deal<PackMessage>,
        stop: &Stop,
    ) -> Result<()> {
        let count = self.parcels.len();
        for turn in 0_u64.. {
            let index = usize::try_from(turn % count as u64).unwrap_or(0);
            let mut has_begun = false;
            loop {
                match self.next(index, multi_connection, stop)? {
                    StreamMessage::Pack(pack) => {
                        let end = pack.turn()?;
                        deal.send(PackMessage::Some(pack))?;
                        match end {
                            Some(number) if number == turn => break,
                            Some(number) => return Err(out_of_turn(index, number, turn)),
                            None => has_begun = true,
                        }
                    }
                    StreamMessage::End if has_begun => {
                        return Err(Error::damaged(format!("stream {index} ends within a turn")));
                    }
                    StreamMessage::End => return self.all_end(index, multi_connection, stop),
                }
            }
        }
        Ok(())
    }

    /// Tells all but the first connection how the clone ended. Why, only the first one is told.
    pub fn answer(self, is_well: bool) {
        let failed = || (503, "the clone failed; its first connection is told why".to_owned());
        for others in &self.answers[1..] {
            // One that broke does not ask.
            let _ = others.try_send(if is_well { (200, String::new()) } else { failed() });
        }
    }

    /// Nobody's packs are taken any more.
    pub fn end(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.parcels.clear();
    }

    /// That the others end where stream `index` has ended.
    fn all_end(&self, index: usize, multi_connection: &MultiConnection, stop: &Stop) -> Result<()> {
        for other in (0..self.parcels.len()).filter(|&other| other != index) {
            match self.next(other, multi_connection, stop)? {
                StreamMessage::End => {}
                StreamMessage::Pack(_) => {
                    return Err(Error::damaged(format!(
                        "stream {other} goes on behind the end of stream {index}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn next(&self, index: usize, multi_connection: &MultiConnection, stop: &Stop) -> Result<StreamMessage> {
        loop {
            select! {
                recv(self.parcels[index]) -> parcel => {
                    return parcel.map_err(|_| Error::neighbour("connection"));
                }
                recv(self.failures) -> failure => {
                    return Err(failure.unwrap_or_else(|_| Error::neighbour("connection")));
                }
                default(STOP_TICK) => {}
            }
            Error::check(stop)?;
            if self.connection.is_set() {
                return Err(Error::new(Kind::Stalled, crate::receive::running::OUSTED));
            }
            if self.opened.elapsed() > JOIN && multi_connection.is_awaited(index) {
                let text = format!("stream {index} did not come within {} s", JOIN.as_secs());
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
    Error::damaged(format!("stream {index} brings turn {number} in place of turn {turn}"))
}

#[cfg(test)]
mod tests;
