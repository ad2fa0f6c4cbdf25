//! A relay between a source and a target. It counts the bytes that the source sends, and breaks a connection where a test asks for
//! it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::until;

/// A connection that has carried no more than this may be a small request. It is not counted as an upload and never broken.
const UPLOAD_BYTES: u64 = 1 << 20;
const TICK: Duration = Duration::from_millis(5);
/// Receive buffer of the relay: how much a source can send while the relay forwards nothing. Without a limit the kernel lets the
/// buffer grow to tens of MiB on the loopback interface, and a source that is killed late would have sent everything.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A fault of an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Break {
    /// The relay closes the connections to both sides.
    Cut,
    /// The relay forwards nothing from now on, and closes nothing.
    Silent,
    /// The relay forwards nothing until [`Relay::release`] or [`Relay::cut_held`]. The held bytes have not reached the target.
    Hold,
    /// The relay flips one bit.
    Flip,
}

/// Forwards connections from its own port to the target's port. After a restart the target may have another port; the URL of the
/// source stays the same.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
    accept_thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    sent_bytes: AtomicU64,
    /// Connections that were uploads.
    uploads: AtomicU64,
    /// The fault that was not injected yet.
    planned: Mutex<Option<PlannedBreak>>,
    is_held: AtomicBool,
    /// The held upload is to be cut when it is released.
    is_cut: AtomicBool,
    /// 0 while there is no target.
    target_port: AtomicU16,
    is_stopped: AtomicBool,
}

/// A fault that is injected once, into the running upload, when `sent_bytes` has reached `at_bytes`.
struct PlannedBreak {
    at_bytes: u64,
    fault: Break,
}

impl Relay {
    /// A relay without a target.
    #[expect(clippy::new_without_default, reason = "it takes a port from the system")]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        // Accepted sockets inherit the size from the listener.
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER_BYTES).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accept_thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { port, shared, accept_thread: Some(accept_thread) }
    }

    /// The port to which sources connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a closure that sets the target's port for new connections. It can be called later and in another thread.
    pub fn target_setter(&self) -> impl Fn(u16) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |port| shared.target_port.store(port, Ordering::SeqCst)
    }

    /// Waits until there is a target. Returns its port.
    pub fn target_port(&self) -> u16 {
        until("the target listens", || self.shared.target_port.load(Ordering::SeqCst) != 0);
        self.shared.target_port.load(Ordering::SeqCst)
    }

    /// The bytes that sources have sent to targets through this relay.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::SeqCst)
    }

    /// The number of connections that were uploads.
    pub fn uploads(&self) -> u64 {
        self.shared.uploads.load(Ordering::SeqCst)
    }

    /// Injects `fault` into the running upload once `at_bytes` were sent in total.
    pub fn break_at(&self, at_bytes: u64, fault: Break) {
        *self.shared.planned.lock().unwrap() = Some(PlannedBreak { at_bytes, fault });
    }

    /// Waits until an upload is held.
    pub fn wait_until_held(&self) {
        until("an upload is held", || self.is_held());
    }

    /// Whether an upload is held now.
    pub fn is_held(&self) -> bool {
        self.shared.is_held.load(Ordering::SeqCst)
    }

    /// Lets the held upload continue.
    pub fn release(&self) {
        self.shared.is_held.store(false, Ordering::SeqCst);
    }

    /// Closes the held connection. The held bytes never arrive, so the clone cannot have been complete.
    pub fn cut_held(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.release();
    }

    /// Whether the fault of [`Relay::break_at`] was injected.
    pub fn has_broken(&self) -> bool {
        self.shared.planned.lock().unwrap().is_none()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let ended = self.accept_thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while !shared.is_stopped.load(Ordering::SeqCst) {
        let Ok((source, _)) = listener.accept() else {
            std::thread::sleep(TICK);
            continue;
        };
        let target_port = shared.target_port.load(Ordering::SeqCst);
        // Without a target the source's connection is closed.
        let Ok(target) = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port)) else { continue };
        let shared = Arc::clone(shared);
        connections.push(std::thread::spawn(move || forward(&source, &target, &shared)));
    }
    connections.into_iter().for_each(|connection| connection.join().unwrap());
}

/// Forwards in both directions until either side closes.
fn forward(source: &TcpStream, target: &TcpStream, shared: &Shared) {
    let is_silent = AtomicBool::new(false);
    for socket in [source, target] {
        socket.set_nonblocking(false).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| pump(source, target, shared, &is_silent, true));
        scope.spawn(|| pump(target, source, shared, &is_silent, false));
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, is_silent: &AtomicBool, to_target: bool) {
    let mut buffer = vec![0; 64 << 10];
    let mut forwarded_bytes = 0;
    while !shared.is_stopped.load(Ordering::SeqCst) {
        if is_silent.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
            continue;
        }
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => break,
        };
        let was_small = forwarded_bytes <= UPLOAD_BYTES;
        forwarded_bytes += len as u64;
        if to_target && forwarded_bytes > UPLOAD_BYTES {
            if was_small {
                shared.uploads.fetch_add(1, Ordering::SeqCst);
            }
            match shared.due() {
                Some(Break::Cut) => break,
                Some(Break::Silent) => {
                    is_silent.store(true, Ordering::SeqCst);
                    continue;
                }
                Some(Break::Hold) => {
                    shared.hold();
                    if shared.is_cut.swap(false, Ordering::SeqCst) {
                        break;
                    }
                }
                Some(Break::Flip) => buffer[len / 2] ^= 4,
                None => {}
            }
        }
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
        if to_target {
            shared.sent_bytes.fetch_add(len as u64, Ordering::SeqCst);
        }
    }
    // When one side closes, the relay closes the other one, too. An error means that it is closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Shared {
    fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
        while self.is_held.load(Ordering::SeqCst) && !self.is_stopped.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
        }
    }

    /// The planned fault, if its position is reached. It is returned only once.
    fn due(&self) -> Option<Break> {
        let mut planned = self.planned.lock().unwrap();
        let due = planned.take_if(|planned| planned.at_bytes <= self.sent_bytes.load(Ordering::SeqCst))?;
        Some(due.fault)
    }
}
