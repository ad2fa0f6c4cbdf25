//! Ending a connection without losing what was written.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Conn;

/// What is read and thrown away of a peer's data while it learns that we closed.
const DRAIN_LIMIT_BYTES: u64 = 64 << 20;

impl Conn {
    /// Ends the connection so that the peer gets everything that was written: says goodbye, then reads and
    /// drops what still comes for at most `limit`. Closing a socket with unread data would send a reset,
    /// which can overtake the answer.
    pub fn close(mut self, limit: Duration) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        let deadline = Instant::now() + limit;
        while self.push_out().is_ok() && self.wants_write() {
            if self.wait(PollFlags::OUT, deadline, "goodbye", limit).is_err() {
                return;
            }
        }
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut dropped_bytes = 0;
        let mut buf = vec![0; 64 << 10];
        while dropped_bytes < DRAIN_LIMIT_BYTES {
            match self.socket.read(&mut buf) {
                Ok(0) => return,
                Ok(len) => dropped_bytes += len as u64,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::IN, deadline, "goodbye", limit).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}
