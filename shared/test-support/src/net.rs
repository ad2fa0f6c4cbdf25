//! Free ports that stay reserved until the test uses them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType};

/// A port of the loopback address that is bound but does not listen: it refuses connections, and the system assigns it to no
/// other process. A process under test can still listen on it, because both sockets set `SO_REUSEADDR`.
#[derive(Debug)]
pub struct Closed(OwnedFd);

impl Closed {
    /// Binds a free port.
    #[expect(clippy::new_without_default, reason = "it takes a port from the system")]
    pub fn new() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self(socket)
    }

    /// The loopback address with the port.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::try_from(rustix::net::getsockname(&self.0).unwrap()).unwrap()
    }

    /// The port number.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Starts to listen.
    pub fn listen(self) -> TcpListener {
        rustix::net::listen(&self.0, 8).unwrap();
        TcpListener::from(self.0)
    }
}
