//! A relay between a source and a target. It counts what is sent, and breaks a connection when a test orders it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::until;

/// Connections that carry less than this are small requests, and never break.
const UPLOAD_BYTES: u64 = 1 << 20;
const TICK: Duration = Duration::from_millis(5);
/// What a source can send while nothing goes through. Without a limit the kernel lets it grow to tens of MiB on the
/// loopback interface, and then a source that is killed late has sent everything.
const HELD_BYTES: usize = 1 << 20;

/// What happens to an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Break {
    /// Both sides are closed.
    Cut,
    /// Nothing goes through any more, and neither side is told.
    Silent,
    /// The same until [`Relay::let_go`] or [`Relay::cut_held`]. What is held has not reached the target.
    Hold,
    /// One bit becomes another one.
    Flip,
}

/// Carries connections from a port of its own to the target's. The target may change its port: the source's URL stays.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
    door: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    sent_bytes: AtomicU64,
    /// Connections that were uploads.
    uploads: AtomicU64,
    /// When `sent_bytes` has reached this, the upload that is under way breaks, once.
    order: Mutex<Option<(u64, Break)>>,
    is_held: AtomicBool,
    /// What was held ends instead of going on.
    is_cut: AtomicBool,
    /// 0 while there is no target.
    target_port: AtomicU16,
    is_over: AtomicBool,
}

impl Relay {
    /// A relay without a target.
    #[expect(clippy::new_without_default, reason = "it takes a port from the system")]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        // Connections have it from their listener.
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, HELD_BYTES).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let door = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { port, shared, door: Some(door) }
    }

    /// Where sources connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port of the target for the connections that come from now on. The closure can be called later and from
    /// another thread.
    pub fn target_setter(&self) -> impl Fn(u16) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |port| shared.target_port.store(port, Ordering::SeqCst)
    }

    /// Waits until there is a target; its port.
    pub fn target_port(&self) -> u16 {
        until("a target that listens", || self.shared.target_port.load(Ordering::SeqCst) != 0);
        self.shared.target_port.load(Ordering::SeqCst)
    }

    /// All that sources sent to targets through it.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::SeqCst)
    }

    /// How many connections carried a part of a volume.
    pub fn uploads(&self) -> u64 {
        self.shared.uploads.load(Ordering::SeqCst)
    }

    /// Breaks the upload that is under way when `at_bytes` were sent in all.
    pub fn break_at(&self, at_bytes: u64, how: Break) {
        *self.shared.order.lock().unwrap() = Some((at_bytes, how));
    }

    /// Waits until an upload is held.
    pub fn wait_until_held(&self) {
        until("an upload that is held", || self.is_held());
    }

    /// Whether an upload is held now.
    pub fn is_held(&self) -> bool {
        self.shared.is_held.load(Ordering::SeqCst)
    }

    /// Lets the upload that is held continue.
    pub fn let_go(&self) {
        self.shared.is_held.store(false, Ordering::SeqCst);
    }

    /// Closes the connection that is held. What it held never arrives, so the clone cannot have been complete.
    pub fn cut_held(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.let_go();
    }

    /// Whether the order of [`Relay::break_at`] was carried out.
    pub fn has_broken(&self) -> bool {
        self.shared.order.lock().unwrap().is_none()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let ended = self.door.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut lines = Vec::new();
    while !shared.is_over.load(Ordering::SeqCst) {
        let Ok((source, _)) = listener.accept() else {
            std::thread::sleep(TICK);
            continue;
        };
        let target_port = shared.target_port.load(Ordering::SeqCst);
        // Without a target the source finds its connection closed.
        let Ok(target) = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port)) else { continue };
        let shared = Arc::clone(shared);
        lines.push(std::thread::spawn(move || carry(&source, &target, &shared)));
    }
    lines.into_iter().for_each(|line| line.join().unwrap());
}

/// Carries both ways until either side ends.
fn carry(source: &TcpStream, target: &TcpStream, shared: &Shared) {
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

fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, is_silent: &AtomicBool, is_upload: bool) {
    let mut buffer = vec![0; 64 << 10];
    let mut carried_bytes = 0;
    while !shared.is_over.load(Ordering::SeqCst) {
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
        let is_first = carried_bytes <= UPLOAD_BYTES;
        carried_bytes += len as u64;
        if is_upload && is_first && carried_bytes > UPLOAD_BYTES {
            shared.uploads.fetch_add(1, Ordering::SeqCst);
        }
        if is_upload && carried_bytes > UPLOAD_BYTES {
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
        if is_upload {
            shared.sent_bytes.fetch_add(len as u64, Ordering::SeqCst);
        }
    }
    // When one side ends, the other one ends too. Either may be gone already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl Shared {
    fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
        while self.is_held.load(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
        }
    }

    /// What is due now; returned once.
    fn due(&self) -> Option<Break> {
        let mut order = self.order.lock().unwrap();
        let (_, how) = order.take_if(|(at_bytes, _)| *at_bytes <= self.sent_bytes.load(Ordering::SeqCst))?;
        Some(how)
    }
}
