//! A relay between a controller and the API server, which kills the controller at chosen calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// A call that changes something.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `POST`, `PATCH`, `PUT` or `DELETE`.
    pub(crate) verb: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// What happens at a call.
pub(crate) enum Fate {
    /// It reaches the API server, and its answer the controller.
    Pass,
    /// The controller is killed, and the call never reaches the API server.
    KillBefore,
    /// The API server carries the call out. The controller is killed before it reads the answer.
    KillAfter,
    /// Something else happens before the API server gets the call.
    Before(Action),
    /// Something else happens before the controller gets the answer.
    After(Action),
}

/// What happens at a call besides.
pub(crate) type Action = Box<dyn FnOnce() + Send>;

/// A controller was killed.
#[derive(Debug)]
pub(crate) struct Kill {
    /// The call at which it happened.
    pub(crate) call: Call,
    /// Whether the API server carried the call out.
    pub(crate) is_after: bool,
}

type Judge = Box<dyn FnMut(&Call) -> Fate + Send>;

/// The relay. The controller uses it without TLS; `kubectl proxy` does the rest.
pub(crate) struct ApiRelay {
    proxy: Child,
    address: SocketAddr,
    shared: Arc<Shared>,
    kills: Mutex<Receiver<Kill>>,
}

struct Shared {
    upstream: SocketAddr,
    judge: Mutex<Judge>,
    passes_all: AtomicBool,
    /// The process to kill. `None` after a kill, until the next controller is known: its calls wait.
    controller: Mutex<Option<u32>>,
    killed: Mutex<Sender<Kill>>,
    /// The connections of the current controller. All are closed with a kill.
    connections: Mutex<Vec<TcpStream>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApiRelay {
    /// A relay that asks `judge` about each call that changes something.
    pub(crate) fn start(judge: impl FnMut(&Call) -> Fate + Send + 'static) -> Self {
        let mut proxy = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let upstream = line.rsplit(' ').next().unwrap().trim();
        let upstream = upstream.parse().unwrap_or_else(|_| panic!("kubectl proxy: {line}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (killed, kills) = channel();
        let shared = Arc::new(Shared {
            upstream,
            judge: Mutex::new(Box::new(judge)),
            passes_all: AtomicBool::new(false),
            controller: Mutex::default(),
            killed: Mutex::new(killed),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.serve(&connection));
            }
        });
        Self { proxy, address, shared, kills: Mutex::new(kills) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Names the process that is killed from now on.
    pub(crate) fn controller_is(&self, process: u32) {
        *lock(&self.shared.controller) = Some(process);
    }

    /// From now on, all calls pass.
    pub(crate) fn pass_all(&self) {
        self.shared.passes_all.store(true, Ordering::SeqCst);
    }

    /// Waits for the next kill.
    pub(crate) fn next_kill(&self, limit: Duration) -> Option<Kill> {
        lock(&self.kills).recv_timeout(limit).ok()
    }
}

impl Drop for ApiRelay {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

impl Shared {
    /// Relays one connection until either side closes it.
    fn serve(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        lock(&self.connections).push(client.try_clone().unwrap());
        let at_answer = Mutex::new(None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.answers(&server, client, &at_answer);
                let _ = client.shutdown(Shutdown::Both);
            });
            let _ = self.requests(client, &server, &at_answer);
            let _ = server.shutdown(Shutdown::Both);
        });
    }

    fn requests(
        &self,
        client: &TcpStream,
        mut server: &TcpStream,
        at_answer: &Mutex<Option<AtAnswer>>,
    ) -> std::io::Result<()> {
        let mut reader = BufReader::new(client);
        while let Some(request) = Request::read(&mut reader)? {
            let call = request.call().filter(|_| !self.passes_all.load(Ordering::SeqCst));
            let Some(call) = call else {
                server.write_all(&request.bytes)?;
                continue;
            };
            // Held during a kill, so that no other call of that controller gets through.
            let mut judge = lock(&self.judge);
            if !self.is_of_controller(client) {
                return Ok(());
            }
            match judge(&call) {
                Fate::Pass => {}
                Fate::KillBefore => {
                    self.kill(Kill { call, is_after: false });
                    return Ok(());
                }
                Fate::KillAfter => {
                    *lock(at_answer) = Some(AtAnswer::Kill(call));
                    server.write_all(&request.bytes)?;
                    while lock(at_answer).is_some() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    return Ok(());
                }
                Fate::Before(action) => action(),
                Fate::After(action) => *lock(at_answer) = Some(AtAnswer::Act(action)),
            }
            drop(judge);
            server.write_all(&request.bytes)?;
        }
        Ok(())
    }

    /// Waits until the current controller is known; whether the connection is one of its own.
    fn is_of_controller(&self, client: &TcpStream) -> bool {
        while lock(&self.controller).is_none() && !self.passes_all.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let address = client.peer_addr().ok();
        lock(&self.connections).iter().any(|own| address.is_some() && own.peer_addr().ok() == address)
    }

    fn answers(&self, mut server: &TcpStream, mut client: &TcpStream, at_answer: &Mutex<Option<AtAnswer>>) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = server.read(&mut buffer) {
            // Locked until it has happened.
            let mut at_answer = lock(at_answer);
            match at_answer.take() {
                Some(AtAnswer::Kill(call)) => return self.kill(Kill { call, is_after: true }),
                Some(AtAnswer::Act(action)) => action(),
                None => {}
            }
            drop(at_answer);
            if client.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        lock(at_answer).take();
    }

    fn kill(&self, kill: Kill) {
        if let Some(process) = lock(&self.controller).take() {
            let status = Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
            assert!(status.success());
        }
        for connection in lock(&self.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        let _ = lock(&self.killed).send(kill);
    }
}

/// What happens when the answer to a call arrives.
enum AtAnswer {
    Kill(Call),
    Act(Action),
}

struct Request {
    bytes: Vec<u8>,
    head_bytes: usize,
}

impl Request {
    /// The next request of the connection; `None` at its end.
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let mut body_bytes = 0;
        loop {
            let start = bytes.len();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&bytes[start..]).to_ascii_lowercase();
            if let Some(length) = line.strip_prefix("content-length:") {
                body_bytes = length.trim().parse().unwrap();
            }
            assert!(!line.starts_with("transfer-encoding:"), "{line}");
            if line.trim().is_empty() {
                break;
            }
        }
        let head_bytes = bytes.len();
        bytes.resize(head_bytes + body_bytes, 0);
        reader.read_exact(&mut bytes[head_bytes..])?;
        Ok(Some(Self { bytes, head_bytes }))
    }

    /// The call, if it changes something.
    fn call(&self) -> Option<Call> {
        let text = String::from_utf8_lossy(&self.bytes[..self.head_bytes]);
        let mut words = text.split_whitespace();
        let (verb, path) = (words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned());
        let body = serde_json::from_slice(&self.bytes[self.head_bytes..]).unwrap_or_default();
        (verb != "GET").then_some(Call { verb, path, body })
    }
}
