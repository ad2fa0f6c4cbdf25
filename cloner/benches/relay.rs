//! A network for `scripts/bench.sh streams` in which each connection has its own limit: what arrives on a loopback port
//! is forwarded to another port, each byte later by half a round trip, and no faster than a rate.
//!
//! `relay PORT MBIT ROUND_TRIP_MS` prints its own port and carries connections until it is killed. Traffic shaping of the
//! kernel holds an interface as a whole; networks that hold each connection (overlays that hash a flow onto one link, tunnels
//! with a thread for each) need this.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program for a bench")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// What is carried at a time.
const PIECE_BYTES: usize = 64 << 10;
/// A network's own buffers, besides what is on its way.
const QUEUE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Link {
    bytes_per_sec: u64,
    delay: Duration,
}

impl Link {
    /// Pieces that are on their way when it is full.
    fn depth(self) -> usize {
        let on_the_way = self.bytes_per_sec * u64::try_from(self.delay.as_micros()).unwrap_or(0) / 1_000_000;
        (usize::try_from(on_the_way).unwrap_or(0) + QUEUE_BYTES) / PIECE_BYTES
    }

    fn time_for(self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_sec)
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let &[port, mbit, round_trip_ms] = numbers.as_slice() else {
        println!("relay PORT MBIT ROUND_TRIP_MS");
        std::process::exit(2);
    };
    let port = u16::try_from(port).expect("a port");
    let link = Link {
        bytes_per_sec: mbit.max(1) * 1_000_000 / 8,
        delay: Duration::from_micros(round_trip_ms * 1000 / 2),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    println!("{}", listener.local_addr().expect("its address").port());
    for near in listener.incoming().flatten() {
        // No server listens there yet: the client finds its connection closed and retries.
        let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
        for (from, to) in [(near, far), (far_too, near_too)] {
            spawn(move || carry(from, to, link));
        }
    }
}

/// One direction of a connection.
fn carry(mut from: TcpStream, to: TcpStream, link: Link) {
    let (pieces, arrived) = sync_channel(link.depth());
    let (spent, used) = sync_channel(link.depth() + 2);
    let writer = spawn(move || deliver(&to, &arrived, &spent, link));
    let mut kept = VecDeque::new();
    loop {
        kept.extend(used.try_iter());
        let mut piece: Vec<u8> = kept.pop_front().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        match from.read(&mut piece) {
            Ok(len) if len > 0 => piece.truncate(len),
            _ => break,
        }
        if pieces.send((Instant::now(), piece)).is_err() {
            break;
        }
    }
    drop(pieces);
    // It ends by itself when the last piece is delivered.
    let _ = writer.join();
}

fn deliver(
    mut to: &TcpStream,
    arrived: &Receiver<(Instant, Vec<u8>)>,
    spent: &SyncSender<Vec<u8>>,
    link: Link,
) {
    // Small messages must not wait for others.
    let _ = to.set_nodelay(true);
    let mut free_at = Instant::now();
    for (came, piece) in arrived {
        // It has gone through when its last byte has.
        free_at = free_at.max(came + link.delay) + link.time_for(piece.len());
        sleep(free_at.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
        let _ = spent.try_send(piece);
    }
    let _ = to.shutdown(Shutdown::Write);
}
