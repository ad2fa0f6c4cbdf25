//! The table of a server's connections that have a slot, with what is needed to end each of them.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::admission::{ConnPhase, Decision, Limits, PeerNetwork, PendingConnection, Slot, decide};
use crate::process::stop::Stop;

/// All connections that have a slot.
#[derive(Default)]
pub(super) struct ConnectionSlots(Mutex<SlotTable>);

#[derive(Default)]
struct SlotTable {
    slots: Vec<Slot>,
    handles: HashMap<u64, AbortHandle>,
    last_id: u64,
}

/// Ends a connection from another thread.
struct AbortHandle {
    /// The connection's own socket: shutting it down wakes the thread that waits for it.
    socket: TcpStream,
    stop: Stop,
}

impl ConnectionSlots {
    /// How many connections have a slot, including evicted ones whose threads still run.
    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Decides what to do next. An eviction is carried out here.
    pub(super) fn next_decision(&self, pending: &[PendingConnection], limits: &Limits) -> Decision {
        let mut table = self.lock();
        let decision = decide(&table.slots, pending, limits, Instant::now());
        if let Decision::Evict(id) = decision {
            if let Some(slot) = table.slots.iter_mut().find(|slot| slot.id == id) {
                slot.is_ending = true;
            }
            if let Some(handle) = table.handles.get(&id) {
                handle.stop.cancel();
                // An error means that the peer has closed already.
                let _ = handle.socket.shutdown(Shutdown::Both);
            }
        }
        decision
    }

    /// Gives a slot to a connection from `network`. `stop` ends its waits; `socket` is its socket or a clone of it.
    pub(super) fn take(self: &Arc<Self>, network: PeerNetwork, socket: TcpStream, stop: Stop) -> SlotGuard {
        let mut table = self.lock();
        table.last_id += 1;
        let id = table.last_id;
        table.slots.push(Slot {
            id,
            network,
            phase: ConnPhase::Opening,
            since: Instant::now(),
            is_known: false,
            is_ending: false,
        });
        table.handles.insert(id, AbortHandle { socket, stop });
        drop(table);
        SlotGuard(PhaseReporter { slots: Arc::clone(self), id })
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        // Plain values: they are consistent even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's slot; released when dropped.
pub(super) struct SlotGuard(PhaseReporter);

impl SlotGuard {
    /// Reports what this connection is doing.
    pub(super) fn phase_reporter(&self) -> PhaseReporter {
        self.0.clone()
    }

    /// Turns the slot into one of the `reserved_max` reserved slots, if one of those is free.
    pub(super) fn reserve(&self, reserved_max: usize) {
        let mut table = self.0.slots.lock();
        if table.slots.iter().filter(|slot| slot.is_known).count() >= reserved_max {
            return;
        }
        if let Some(slot) = table.slots.iter_mut().find(|slot| slot.id == self.0.id) {
            slot.is_known = true;
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut table = self.0.slots.lock();
        table.slots.retain(|slot| slot.id != self.0.id);
        table.handles.remove(&self.0.id);
    }
}

/// Records what one connection is doing.
#[derive(Clone)]
pub(super) struct PhaseReporter {
    slots: Arc<ConnectionSlots>,
    id: u64,
}

impl PhaseReporter {
    /// Records that the connection enters `phase`.
    pub(super) fn enter(&self, phase: ConnPhase) {
        let mut table = self.slots.lock();
        if let Some(slot) = table.slots.iter_mut().find(|slot| slot.id == self.id)
            && slot.phase != phase
        {
            slot.phase = phase;
            slot.since = Instant::now();
        }
    }
}
