//! Receiving: what the socket brings goes into the inbox, from there into TLS, and comes out as plain bytes that are
//! looked at where they lie.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Conn, Fault};

/// rustls takes at most 4 KiB a time from its reader; one large read from the socket feeds many of those
/// steps (measured: 1.2 to 1.5 times the rate of reading through).
const INBOX_BYTES: usize = 256 << 10;
/// What every connection begins with: enough for probes, scrapers and those who only want to occupy memory.
const FIRST_INBOX_BYTES: usize = 16 << 10;
/// A sender whose data comes in pieces smaller than this wakes its receiver for each of them, which costs both more than
/// the piece. CDI's source sends 64 KiB of zeros as 3 KiB.
const DRIP_BYTES: usize = 16 << 10;
/// So many of them in a row are the habit of a sender.
const DRIPS: u8 = 4;
/// Then others are waited for after the first one. Nothing is lost by that: the socket has room for what comes meanwhile.
const GATHERING: Duration = Duration::from_millis(1);
/// A sender of whom so much comes at once has lost that habit.
const STREAM_BYTES: usize = 128 << 10;

impl Conn {
    /// Reads some plain bytes; 0 is the peer's orderly end. A connection that is cut is a fault, never 0.
    /// `idle` limits how long nothing may arrive, `doing` names the phase for messages.
    pub fn read(&mut self, buf: &mut [u8], idle: Duration, doing: &'static str) -> Result<usize, Fault> {
        let waiting = self.fill(idle, doing)?;
        let len = waiting.len().min(buf.len());
        buf[..len].copy_from_slice(&waiting[..len]);
        self.consume(len);
        Ok(len)
    }

    /// The same without copying: plain bytes that stay until they are consumed, at most one record of them. None at
    /// all: the peer's orderly end.
    pub fn fill(&mut self, idle: Duration, doing: &'static str) -> Result<&[u8], Fault> {
        let deadline = Instant::now() + idle;
        while !self.has_plain()? {
            self.push_out()?;
            self.wait(PollFlags::IN, deadline, doing, idle)?;
            if self.drips >= DRIPS {
                std::thread::sleep(GATHERING);
            }
        }
        Ok(self.plain())
    }

    /// What [`Conn::fill`] gave, once more; empty when all of it was consumed.
    pub fn plain(&mut self) -> &[u8] {
        match &mut self.tls {
            Some(tls) => tls.reader().into_first_chunk().unwrap_or_default(),
            None => &self.inbox[self.inbox_start..self.inbox_end],
        }
    }

    /// Drops the first `len` plain bytes, of those that [`Conn::fill`] gave.
    pub fn consume(&mut self, len: usize) {
        match &mut self.tls {
            Some(tls) => tls.reader().consume(len),
            None => self.inbox_start += len.min(self.inbox_end - self.inbox_start),
        }
    }

    /// Whether the peer has said something that [`Conn::read`] would return at once (its end included).
    pub fn has_input(&mut self) -> Result<bool, Fault> {
        while self.pull_in()? {}
        Ok(self.socket_ended || self.plain_waiting())
    }

    /// Takes one step of input towards plain bytes without waiting. Returns whether there was any.
    pub(super) fn pull_in(&mut self) -> Result<bool, Fault> {
        let refilled = self.inbox_start == self.inbox_end && self.refill()?;
        let Some(tls) = &mut self.tls else { return Ok(refilled) };
        if self.inbox_start == self.inbox_end && !refilled {
            return Ok(false);
        }
        if self.socket_ended {
            // Tells rustls about the end, so that its reader can tell a goodbye from a cut.
            let _ = tls.read_tls(&mut io::empty());
        } else if tls.wants_read() {
            let mut waiting = &self.inbox[self.inbox_start..self.inbox_end];
            let len = tls.read_tls(&mut waiting).map_err(|e| Fault::HungUp(e.to_string()))?;
            self.inbox_start += len;
        } else {
            return Ok(false);
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that tells the peer why; if it cannot be sent the local error still stands.
            let _ = self.push_out();
            return Err(Fault::Tls(error));
        }
        Ok(true)
    }

    /// Whether [`Conn::plain`] has something to say without waiting: bytes, or the orderly end.
    fn has_plain(&mut self) -> Result<bool, Fault> {
        loop {
            let is_ready = match &mut self.tls {
                Some(tls) => match tls.reader().into_first_chunk() {
                    Ok(_) => true,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
                    Err(_) => return Err(Fault::HungUp("closed without a goodbye".to_owned())),
                },
                None => self.inbox_start < self.inbox_end || self.socket_ended,
            };
            if is_ready || !self.pull_in()? {
                return Ok(is_ready);
            }
        }
    }

    fn plain_waiting(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0),
            None => self.inbox_start < self.inbox_end,
        }
    }

    /// Reads from the socket into the empty inbox. Returns whether something new is known: bytes, or the end.
    fn refill(&mut self) -> Result<bool, Fault> {
        if self.socket_ended {
            return Ok(false);
        }
        // Full last time: there is more where that came from.
        if self.inbox_end == self.inbox.len() && self.inbox.len() < INBOX_BYTES {
            let len = (self.inbox.len() * 4).max(FIRST_INBOX_BYTES);
            self.inbox.resize(len, 0);
        }
        loop {
            match self.socket.read(&mut self.inbox) {
                Ok(0) => {
                    self.socket_ended = true;
                    return Ok(true);
                }
                Ok(len) => {
                    (self.inbox_start, self.inbox_end) = (0, len);
                    self.drips = drips_after(self.drips, len);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Fault::HungUp(e.to_string())),
            }
        }
    }
}

/// How many small pieces have come in a row when `len` bytes come after `drips` of them; no more than [`DRIPS`] are counted.
fn drips_after(drips: u8, len: usize) -> u8 {
    match len {
        0..DRIP_BYTES => DRIPS.min(drips + 1),
        0..STREAM_BYTES if drips == DRIPS => DRIPS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use crate::process::stop::Stop;

    #[test]
    fn small_pieces_in_a_row_become_a_habit_that_only_a_stream_ends() {
        let after = |lens: &[usize]| lens.iter().fold(0, |drips, &len| drips_after(drips, len));
        assert_eq!(after(&[3000; 3]), DRIPS - 1);
        assert_eq!(after(&[3000, 3000, 3000, DRIP_BYTES, 3000]), 1);
        assert_eq!(after(&[3000; 1000]), DRIPS);
        assert_eq!(after(&[3000, 3000, 3000, 3000, STREAM_BYTES - 1]), DRIPS);
        assert_eq!(after(&[3000, 3000, 3000, 3000, STREAM_BYTES]), 0);
    }

    #[test]
    fn of_what_is_gathered_nothing_is_lost() {
        const PIECES: usize = 2000;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.set_nodelay(true).unwrap();
        let mut conn = Conn::server(listener.accept().unwrap().0, None, Stop::new()).unwrap();
        let piece = |number: usize| [u8::try_from(number % 251).unwrap(); 1000];
        let sending = std::thread::spawn(move || {
            for number in 0..PIECES {
                sender.write_all(&piece(number)).unwrap();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let mut received = Vec::new();
        loop {
            let part = conn.fill(Duration::from_secs(10), "test").unwrap();
            if part.is_empty() {
                break;
            }
            received.extend_from_slice(part);
            let len = part.len();
            conn.consume(len);
        }
        sending.join().unwrap();
        assert!(received == (0..PIECES).flat_map(piece).collect::<Vec<_>>());
    }
}
