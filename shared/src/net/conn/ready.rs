//! Sockets as this crate uses them: non-blocking, watched by `poll`.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A peer that is gone without a word while nothing is sent is noticed by TCP itself after this time.
const PEER_GONE: Duration = Duration::from_secs(120);

/// Waits until `fd` is ready for one of `flags`, at most `limit` (below a second). Returns whether it is.
pub(crate) fn poll_one(fd: impl AsFd, flags: PollFlags, limit: Duration) -> bool {
    poll_any([fd.as_fd()], flags, limit)
}

/// Waits until one of `fds` is ready for one of `flags`, like [`poll_one`].
pub(crate) fn poll_any<const N: usize>(fds: [BorrowedFd<'_>; N], flags: PollFlags, limit: Duration) -> bool {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, flags));
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    // An error (a signal) is not readiness: the caller looks at its clock and comes back.
    matches!(poll(&mut fds, Some(&limit)), Ok(ready) if ready > 0)
}

/// Which of `fds` have something to read, or have ended. Does not wait.
pub(crate) fn are_readable(fds: &[impl AsFd]) -> Vec<bool> {
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // An error leaves all of them unready: the caller looks again soon.
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// Makes a fresh socket non-blocking and watchful.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, PEER_GONE / 4)?;
    sockopt::set_tcp_keepintvl(socket, PEER_GONE / 8)?;
    // No TCP_USER_TIMEOUT: Linux applies it to a peer that is alive and whose window is closed, which a target
    // on a slow disk is. Writes have their own limit.
    Ok(())
}
