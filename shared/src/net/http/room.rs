//! The connections of a server that have a place, with what it takes to end each of them.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::places::{Limits, Origin, Phase, Place, Step, Waiter, next_step};
use crate::process::stop::Stop;

/// All connections that have a place.
#[derive(Default)]
pub(super) struct Room(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    places: Vec<Place>,
    ends: HashMap<u64, End>,
    last_id: u64,
}

/// What ends a connection from another thread.
struct End {
    /// The same socket: shutting it down wakes the thread that waits for it.
    socket: TcpStream,
    stop: Stop,
}

impl Room {
    /// How many connections have a place, those that were ended and have not noticed yet included.
    pub(super) fn len(&self) -> usize {
        self.seats().places.len()
    }

    /// What to do next; a connection that has to end is ended here.
    pub(super) fn step(&self, waiters: &[Waiter], limits: &Limits) -> Step {
        let mut seats = self.seats();
        let step = next_step(&seats.places, waiters, limits, Instant::now());
        if let Step::End(id) = step {
            if let Some(place) = seats.places.iter_mut().find(|place| place.id == id) {
                place.is_ending = true;
            }
            if let Some(end) = seats.ends.get(&id) {
                end.stop.cancel();
                // A peer that has closed already is gone as well.
                let _ = end.socket.shutdown(Shutdown::Both);
            }
        }
        step
    }

    /// Gives a place to a connection from `origin`. `stop` ends its waits; `socket` is its own or a copy of it.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin, socket: TcpStream, stop: Stop) -> Ticket {
        let mut seats = self.seats();
        seats.last_id += 1;
        let id = seats.last_id;
        let (phase, since) = (Phase::Opening, Instant::now());
        seats.places.push(Place { id, origin, phase, since, is_known: false, is_ending: false });
        seats.ends.insert(id, End { socket, stop });
        drop(seats);
        Ticket(Marker { room: Arc::clone(self), id })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Plain values: they are right even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; given back when dropped.
pub(super) struct Ticket(Marker);

impl Ticket {
    /// Says what the connection is doing.
    pub(super) fn marker(&self) -> Marker {
        self.0.clone()
    }

    /// Makes the place one of the reserved ones, if one of those is free.
    pub(super) fn reserve(&self, reserved_max: usize) {
        let mut seats = self.0.room.seats();
        if seats.places.iter().filter(|place| place.is_known).count() >= reserved_max {
            return;
        }
        if let Some(place) = seats.places.iter_mut().find(|place| place.id == self.0.id) {
            place.is_known = true;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut seats = self.0.room.seats();
        seats.places.retain(|place| place.id != self.0.id);
        seats.ends.remove(&self.0.id);
    }
}

/// Says what one connection is doing.
#[derive(Clone)]
pub(super) struct Marker {
    room: Arc<Room>,
    id: u64,
}

impl Marker {
    /// From now on the connection does this.
    pub(super) fn enter(&self, phase: Phase) {
        let mut seats = self.room.seats();
        if let Some(place) = seats.places.iter_mut().find(|place| place.id == self.id)
            && place.phase != phase
        {
            place.phase = phase;
            place.since = Instant::now();
        }
    }
}
