//! The signal thread: the first SIGTERM or SIGINT asks for a clean stop, the second one ends the process.

use std::io;
use std::thread::Builder;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::stop::Stop;

/// Starts the signal thread. It lives as long as the process. Needed by PID 1 of a container above all: the
/// kernel ignores a SIGTERM that PID 1 does not handle.
pub fn watch(stop: &Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    let watching = Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if stop.is_set() {
                std::process::exit(128 + signal);
            }
            // First the stop: a log line may block.
            stop.by_signal(signal);
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            log::warn!("{name}: stopping; once more to leave at once");
        }
    });
    watching.map(drop).map_err(explained)
}

/// The first thread of a process. The C library takes another way to a thread only where the kernel does not know `clone3`;
/// old profiles of container runtimes say that it is not permitted.
fn explained(cause: io::Error) -> io::Error {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other(format!(
            "cannot start a thread: {cause}: the seccomp profile of the container runtime forbids clone3; use a runtime \
             that answers ENOSYS to it, such as Docker 20.10.10 or newer (docs/images.md)"
        )),
        _ => cause,
    }
}
