//! Socket options and readiness: every socket here is non-blocking and is waited for with `poll`.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// TCP keepalive detects a peer that vanished while no data is in flight: it probes after this time without data, and then at
/// this interval. With the kernel's default of 9 probes, detection takes less than three minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Waits until `fd` is ready for one of `flags`, for at most `limit` (less than a second). Returns whether it is ready.
pub(crate) fn poll_one(fd: impl AsFd, flags: PollFlags, limit: Duration) -> bool {
    poll_any([fd.as_fd()], flags, limit)
}

/// Waits until one of `fds` is ready for one of `flags`, like [`poll_one`].
pub(crate) fn poll_any<const N: usize>(fds: [BorrowedFd<'_>; N], flags: PollFlags, limit: Duration) -> bool {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, flags));
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    // An error (a signal) does not mean ready: the caller checks its deadline and polls again.
    matches!(poll(&mut fds, Some(&limit)), Ok(ready) if ready > 0)
}

/// Which of `fds` have input or have ended. Does not wait.
pub(crate) fn are_readable(fds: &[impl AsFd]) -> Vec<bool> {
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // After an error none of them is ready: the caller polls again soon.
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// Sets the options of a new socket: non-blocking, no delay of small writes, TCP keepalive.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    // No TCP_USER_TIMEOUT: Linux also applies it to a peer that is alive with a closed window, such as a target on a slow
    // disk. Writes have their own limit.
    Ok(())
}
