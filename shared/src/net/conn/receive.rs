//! Receiving: bytes go from the socket into the inbox and from there into TLS. Callers read the plain bytes in place.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Conn, ConnError};
use crate::process::page_buffer::PageBuffer;

/// rustls takes at most 4 KiB at a time from its reader. One large read from the socket feeds many of those steps
/// (measured: 1.2 to 1.5 times the rate of reading directly).
const INBOX_BYTES: usize = 256 << 10;
/// The initial inbox of a connection: enough for probes and scrapers, and small if a peer opens connections only to
/// occupy memory.
const FIRST_INBOX_BYTES: usize = 16 << 10;
/// The offset of the inbox in a memory page. Received data often starts near a page boundary, so an inbox that does, too,
/// is slow on some processors (see [`PageBuffer`]).
const INBOX_PAGE_OFFSET_BYTES: usize = 2 << 10;
/// A read below this size is small: waking the receiver costs both ends more than the data. CDI's source sends 64 KiB of
/// zeros as 3 KiB.
const SMALL_READ_BYTES: usize = 16 << 10;
/// After this many small reads in a row the connection gathers data before it reads.
const SMALL_READS: u8 = 4;
/// How long it gathers after the first byte arrived. Nothing is lost: the socket buffers what arrives meanwhile.
const GATHER_TIME: Duration = Duration::from_millis(1);
/// A read of at least this size ends the gathering.
const LARGE_READ_BYTES: usize = 128 << 10;

impl Conn {
    /// Reads plain bytes; 0 means that the peer closed in good order. A cut connection is an error, never 0.
    /// `idle` limits how long nothing may arrive, `doing` names the phase for messages.
    pub fn read(&mut self, buf: &mut [u8], idle: Duration, doing: &'static str) -> Result<usize, ConnError> {
        let waiting = self.fill(idle, doing)?;
        let len = waiting.len().min(buf.len());
        buf[..len].copy_from_slice(&waiting[..len]);
        self.consume(len);
        Ok(len)
    }

    /// Like [`Conn::read`] without a copy: plain bytes that stay until they are consumed, at most one TLS record. An empty
    /// slice means that the peer closed in good order.
    pub fn fill(&mut self, idle: Duration, doing: &'static str) -> Result<&[u8], ConnError> {
        let deadline = Instant::now() + idle;
        while !self.plain_is_ready()? {
            self.push_out()?;
            self.wait(PollFlags::IN, deadline, doing, idle)?;
            if self.small_reads >= SMALL_READS {
                std::thread::sleep(GATHER_TIME);
            }
        }
        Ok(self.plain())
    }

    /// The bytes that [`Conn::fill`] returned and that are not consumed yet.
    pub fn plain(&mut self) -> &[u8] {
        match &mut self.tls {
            Some(tls) => tls.reader().into_first_chunk().unwrap_or_default(),
            None => &self.inbox[self.inbox_start..self.inbox_end],
        }
    }

    /// Drops the first `len` of the bytes that [`Conn::fill`] returned.
    pub fn consume(&mut self, len: usize) {
        match &mut self.tls {
            Some(tls) => tls.reader().consume(len),
            None => self.inbox_start += len.min(self.inbox_end - self.inbox_start),
        }
    }

    /// Whether [`Conn::read`] would return without waiting: with bytes, or because the peer closed.
    pub fn has_input(&mut self) -> Result<bool, ConnError> {
        while self.pull_in()? {}
        Ok(self.socket_ended || self.has_plain_bytes())
    }

    /// Processes one step of input without waiting. Returns whether there was any.
    pub(super) fn pull_in(&mut self) -> Result<bool, ConnError> {
        let refilled = self.inbox_start == self.inbox_end && self.refill()?;
        let Some(tls) = &mut self.tls else { return Ok(refilled) };
        if self.inbox_start == self.inbox_end && !refilled {
            return Ok(false);
        }
        if self.socket_ended {
            // Tells rustls about the end, so that its reader can distinguish close_notify from a cut.
            let _ = tls.read_tls(&mut io::empty());
        } else if tls.wants_read() {
            let mut waiting = &self.inbox[self.inbox_start..self.inbox_end];
            let len = tls.read_tls(&mut waiting).map_err(|e| ConnError::HungUp(e.to_string()))?;
            self.inbox_start += len;
        } else {
            return Ok(false);
        }
        if let Err(error) = tls.process_new_packets() {
            // Sends the alert that tells the peer why. If that fails, the local error is still returned.
            let _ = self.push_out();
            return Err(ConnError::Tls(error));
        }
        Ok(true)
    }

    /// Whether [`Conn::plain`] has its result: bytes, or the orderly end. Does not wait.
    fn plain_is_ready(&mut self) -> Result<bool, ConnError> {
        loop {
            let is_ready = match &mut self.tls {
                Some(tls) => match tls.reader().into_first_chunk() {
                    Ok(_) => true,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
                    Err(_) => return Err(ConnError::HungUp("closed without a TLS close_notify".to_owned())),
                },
                None => self.inbox_start < self.inbox_end || self.socket_ended,
            };
            if is_ready || !self.pull_in()? {
                return Ok(is_ready);
            }
        }
    }

    fn has_plain_bytes(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0),
            None => self.inbox_start < self.inbox_end,
        }
    }

    /// Reads from the socket into the empty inbox. Returns whether there is something new: bytes, or the end.
    fn refill(&mut self) -> Result<bool, ConnError> {
        if self.socket_ended {
            return Ok(false);
        }
        // The last read filled the inbox: more data is likely to be waiting.
        if self.inbox_end == self.inbox.len() && self.inbox.len() < INBOX_BYTES {
            let len = (self.inbox.len() * 4).max(FIRST_INBOX_BYTES);
            self.inbox = PageBuffer::at_page_offset(len, INBOX_PAGE_OFFSET_BYTES);
        }
        loop {
            match self.socket.read(&mut self.inbox) {
                Ok(0) => {
                    self.socket_ended = true;
                    return Ok(true);
                }
                Ok(len) => {
                    (self.inbox_start, self.inbox_end) = (0, len);
                    self.small_reads = small_reads_after(self.small_reads, len);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ConnError::HungUp(e.to_string())),
            }
        }
    }
}

/// The number of small reads in a row, at most [`SMALL_READS`], when a read of `len` bytes follows `small_reads` of them.
fn small_reads_after(small_reads: u8, len: usize) -> u8 {
    match len {
        0..SMALL_READ_BYTES => SMALL_READS.min(small_reads + 1),
        0..LARGE_READ_BYTES if small_reads == SMALL_READS => SMALL_READS,
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
    fn gathering_starts_after_small_reads_and_ends_with_a_large_one() {
        let after = |lens: &[usize]| lens.iter().fold(0, |count, &len| small_reads_after(count, len));
        assert_eq!(after(&[3000; 3]), SMALL_READS - 1);
        assert_eq!(after(&[3000, 3000, 3000, SMALL_READ_BYTES, 3000]), 1);
        assert_eq!(after(&[3000; 1000]), SMALL_READS);
        assert_eq!(after(&[3000, 3000, 3000, 3000, LARGE_READ_BYTES - 1]), SMALL_READS);
        assert_eq!(after(&[3000, 3000, 3000, 3000, LARGE_READ_BYTES]), 0);
    }

    #[test]
    fn gathering_loses_no_bytes() {
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
