//! A relay between the controller and the API server, which can be cut or go silent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sandbox::kubeconfig;

/// Passes bytes on to the API server. The server's certificate must be good for 127.0.0.1.
pub(crate) struct Relay {
    state: Arc<CloneState>,
    port: u16,
    /// Names the relay instead of the server.
    pub(crate) kubeconfig: PathBuf,
    _directory: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct CloneState {
    ended: AtomicBool,
    silent: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(crate) fn start() -> Self {
        let text = std::fs::read_to_string(kubeconfig()).unwrap();
        let (before, rest) = text.split_once("https://").unwrap();
        let end = rest.find(|c: char| c.is_whitespace() || "\"',}".contains(c)).unwrap();
        let (server, after) = (rest[..end].to_owned(), &rest[end..]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, format!("{before}https://127.0.0.1:{port}{after}")).unwrap();
        let state = Arc::new(CloneState::default());
        let shared = state.clone();
        let thread = std::thread::spawn(move || accept(&listener, &server, &shared));
        Self { state, port, kubeconfig, _directory: directory, thread: Some(thread) }
    }

    /// Ends all connections; new ones are welcome.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on, connections stay open and nothing comes through.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.cut();
        let _ = self.thread.take().unwrap().join();
    }
}

fn accept(listener: &TcpListener, server: &str, state: &Arc<CloneState>) {
    for near in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        let (near, far) = (near.unwrap(), TcpStream::connect(server).unwrap());
        state.open.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
            let state = state.clone();
            std::thread::spawn(move || pass(from, to, &state));
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &CloneState) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while state.silent.load(Ordering::SeqCst) && !state.ended.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
