//! Opening a TCP connection with a time limit and a stop token; listening on both IP families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::net::conn::poll_one;
use crate::process::stop::{STOP_TICK, Stop};

/// Connections that may wait for `accept`. When the queue is full, a client retries after one second, then after two more;
/// a flood of connections should not delay a probe that long. The kernel caps the value at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// Connects to the first address of `host:port` that answers, with at most `limit` for each address. The error is that of
/// the last address; [`io::ErrorKind::Interrupted`] means that the stop token was set.
pub fn connect(host: &str, port: u16, limit: Duration, stop: &Stop) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name resolves to no address");
    for address in (host, port).to_socket_addrs()? {
        match connect_one(address, limit, stop) {
            Ok(stream) => return Ok(stream),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn connect_one(address: SocketAddr, limit: Duration, stop: &Stop) -> io::Result<TcpStream> {
    let socket = new_socket(address)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => return Ok(socket.into()),
        Err(Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let deadline = Instant::now() + limit;
    loop {
        if stop.is_set() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if poll_one(&socket, PollFlags::OUT, left.min(STOP_TICK)) {
            sockopt::socket_error(&socket)??;
            return Ok(socket.into());
        }
    }
}

/// Listens on `address`:`port`. `None` and `::` mean every address of both families, or of IPv4 on a machine without IPv6.
/// Port 0 takes any free port.
pub fn listen(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) if address != Ipv6Addr::UNSPECIFIED => listen_on(SocketAddr::new(address, port)),
        _ => match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(e) if lacks_ipv6(&e) => listen_on((Ipv4Addr::UNSPECIFIED, port).into()),
            other => other,
        },
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // The system default may differ; one socket has to serve both families.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Whether `error` means that this machine has no IPv6.
fn lacks_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::AFNOSUPPORT.raw_os_error()) || code == Some(Errno::ADDRNOTAVAIL.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listener_serves_both_families() {
        for address in [None, Some(Ipv6Addr::UNSPECIFIED.into())] {
            let listener = listen(address, 0).unwrap();
            let port = listener.local_addr().unwrap().port();
            let limit = Duration::from_secs(5);
            for host in ["127.0.0.1", "::1"] {
                connect(host, port, limit, &Stop::new()).unwrap();
            }
        }
    }

    #[test]
    fn a_port_without_a_listener_refuses_the_connection() {
        let closed = decant_test_support::net::Closed::new();
        let error = connect("127.0.0.1", closed.port(), Duration::from_secs(5), &Stop::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
