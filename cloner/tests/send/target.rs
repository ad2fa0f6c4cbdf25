//! A target that follows a test's script: it may answer early, stall, reset, or not exist yet.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use decant_test_support::HANG;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A target that is not there yet: connections to its port are refused.
pub(crate) struct Closed(decant_test_support::net::Closed);

impl Closed {
    pub(crate) fn new() -> Self {
        Self(decant_test_support::net::Closed::new())
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/v1beta1/upload", self.0.address())
    }

    /// Starts to listen.
    pub(crate) fn open<T: Send + 'static>(
        self,
        tls: Arc<ServerConfig>,
        script: impl FnOnce(&TestServer) -> T + Send + 'static,
    ) -> Target<T> {
        let url = self.url();
        let listener = self.0.listen();
        set_socket_timeout(&listener, Timeout::Recv, Some(HANG)).unwrap();
        let server = TestServer { listener, tls };
        Target { url, script: std::thread::spawn(move || script(&server)) }
    }
}

/// A running target.
pub(crate) struct Target<T> {
    pub(crate) url: String,
    script: JoinHandle<T>,
}

impl<T: Send + 'static> Target<T> {
    /// Listens, and runs `script` in a thread.
    pub(crate) fn start(
        tls: Arc<ServerConfig>,
        script: impl FnOnce(&TestServer) -> T + Send + 'static,
    ) -> Self {
        Closed::new().open(tls, script)
    }

    /// What the script returned. A call that it returns stays open until here.
    pub(crate) fn join(self) -> T {
        self.script.join().expect("the target's script has failed")
    }
}

/// Where connections come in.
pub(crate) struct TestServer {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

impl TestServer {
    /// The next connection, without a byte read.
    pub(crate) fn accept_plain(&self) -> TcpStream {
        let (socket, _) = self.listener.accept().expect("nobody came");
        socket.set_read_timeout(Some(HANG)).unwrap();
        // The answer is sent before a reset can overtake it.
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// The next request of whatever kind, of which nothing was answered.
    pub(crate) fn accept_any(&self) -> Connection {
        let tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let stream = BufReader::new(StreamOwned::new(tls, self.accept_plain()));
        let mut connection = Connection { stream, head: None };
        connection.head = Some(connection.read_head());
        connection
    }

    /// The next upload, or another request in its place. The first query of a Decant source is answered
    /// as CDI's target answers it.
    pub(crate) fn accept(&self) -> Connection {
        loop {
            let tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
            let stream = BufReader::new(StreamOwned::new(tls, self.accept_plain()));
            let mut connection = Connection { stream, head: None };
            let head = connection.read_head();
            if head.as_ref().is_ok_and(|head| head.request_line.starts_with("OPTIONS ")) {
                connection.answer(404, "");
                connection.close_notify();
                continue;
            }
            connection.head = Some(head);
            return connection;
        }
    }
}

/// One connection, of which the head was read.
pub(crate) struct Connection {
    stream: BufReader<StreamOwned<ServerConnection, TcpStream>>,
    head: Option<io::Result<Head>>,
}

/// A request's head.
pub(crate) struct Head {
    pub(crate) request_line: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the only header `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        value
    }
}

/// What came of a body.
pub(crate) struct Body {
    pub(crate) wire: Vec<u8>,
    /// Whether the terminating chunk came.
    pub(crate) complete: bool,
}

impl Body {
    /// The decompressed stream.
    pub(crate) fn content(&self) -> Vec<u8> {
        assert!(self.complete, "the body was cut after {} bytes", self.wire.len());
        let mut content = Vec::new();
        snap::read::FrameDecoder::new(self.wire.as_slice()).read_to_end(&mut content).unwrap();
        content
    }
}

impl Connection {
    pub(crate) fn head(&mut self) -> Head {
        self.try_head().unwrap()
    }

    pub(crate) fn try_head(&mut self) -> io::Result<Head> {
        self.head.take().expect("a head is read once")
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let request_line = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { request_line, headers });
            }
            let (name, value) = line.split_once(':').expect("a header without a colon");
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The rest of the body, up to its end or to where the source gave up.
    pub(crate) fn body(&mut self) -> Body {
        let mut wire = Vec::new();
        loop {
            match self.chunk() {
                Ok(Some(chunk)) => wire.extend_from_slice(&chunk),
                Ok(None) => return Body { wire, complete: true },
                Err(_) => return Body { wire, complete: false },
            }
        }
    }

    /// Reads at least this much of the body, if there is as much. Returns whether there is more.
    pub(crate) fn read_part_of_body(&mut self, bytes: usize) -> bool {
        let mut read_bytes = 0;
        while read_bytes < bytes {
            match self.chunk().unwrap() {
                Some(chunk) => read_bytes += chunk.len(),
                None => return false,
            }
        }
        true
    }

    /// The next chunk; `None` is the terminating one.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let len = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; len];
        self.stream.read_exact(&mut chunk)?;
        assert_eq!(self.line()?, "", "behind a chunk");
        Ok((len > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(crate) fn answer(&mut self, status: u16, text: &str) {
        let len = text.len();
        self.send(&format!("HTTP/1.1 {status} Words\r\nContent-Length: {len}\r\n\r\n{text}"));
    }

    pub(crate) fn send(&mut self, raw_text: &str) {
        self.try_send(raw_text).unwrap();
    }

    pub(crate) fn try_send(&mut self, raw_text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(raw_text.as_bytes())?;
        self.stream.get_mut().flush()
    }

    /// Sends close_notify, and waits until the other end has closed.
    pub(crate) fn close_notify(mut self) {
        self.stream.get_mut().conn.send_close_notify();
        // A refused source may have closed already.
        let _ = self.stream.get_mut().flush();
        self.close();
    }

    /// Closes its side of the connection without close_notify, and waits until the other end has closed.
    pub(crate) fn close(mut self) {
        let _ = self.stream.get_mut().sock.shutdown(Shutdown::Write);
        let _ = io::copy(&mut self.stream.get_mut().sock, &mut io::sink());
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        set_socket_linger(&self.stream.get_ref().sock, Some(Duration::ZERO)).unwrap();
    }
}
