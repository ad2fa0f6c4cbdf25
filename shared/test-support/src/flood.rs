//! Idle connections, any number from any number of addresses. Each one is reopened when the server closes it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// Where the connections of a flood come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// One address for all of them, not the one of the test's own connections.
    OneAddress,
    /// A different address for each of them.
    ManyAddresses,
    /// The address of the test's own connections.
    TestAddress,
}

/// A flood that lasts until it is dropped.
pub struct Flood {
    done: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Opens `count` connections to a port of 127.0.0.1. Each sends `bytes` and nothing else. Returns after each has been opened
    /// once.
    pub fn start(port: u16, count: usize, from: Sources, bytes: &'static [u8]) -> Self {
        let (done, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (done, opened) = (Arc::clone(&done), Arc::clone(&opened));
            std::thread::spawn(move || {
                let mut held: Vec<Option<Silent>> = (0..count).map(|_| None).collect();
                while !done.load(Ordering::Acquire) {
                    for (index, slot) in held.iter_mut().enumerate() {
                        if slot.as_mut().is_none_or(|silent| silent.is_closed(bytes)) {
                            // Close the old socket first, so that its descriptor is free.
                            drop(slot.take());
                            *slot = Silent::open(port, address(from, index));
                            opened.fetch_add(usize::from(slot.is_some()), Ordering::AcqRel);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let flood = Self { done, opened, thread: Some(thread) };
        while flood.opened() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
        flood
    }

    /// How many connections were opened so far.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Acquire)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn address(from: Sources, index: usize) -> Ipv4Addr {
    match from {
        Sources::OneAddress => Ipv4Addr::new(127, 9, 9, 9),
        Sources::TestAddress => Ipv4Addr::LOCALHOST,
        Sources::ManyAddresses => {
            let [high, low] = [index / 250, index % 250].map(|part| u8::try_from(part).unwrap_or(0));
            Ipv4Addr::new(127, 8, high, low + 1)
        }
    }
}

/// One connection, and how many of its bytes were sent.
struct Silent {
    socket: TcpStream,
    sent: usize,
}

impl Silent {
    /// `None` if the system has no free socket or port at the moment.
    fn open(port: u16, source: Ipv4Addr) -> Option<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
        bind(&socket, &SocketAddr::from((source, 0))).ok()?;
        match connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Some(Self { socket: socket.into(), sent: 0 }),
            Err(_) => None,
        }
    }

    /// Sends the rest of `bytes`. Returns whether the server has closed the connection.
    fn is_closed(&mut self, bytes: &[u8]) -> bool {
        let failed =
            |e: &std::io::Error| !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected);
        if self.sent < bytes.len() {
            match self.socket.write(&bytes[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(e) if failed(&e) => return true,
                Err(_) => return false,
            }
        }
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return failed(&e),
            }
        }
    }
}
