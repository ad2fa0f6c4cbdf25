//! The signal thread: the first signal requests a clean stop, the second one exits the process.

use std::fs;
use std::io;
use std::thread::Builder;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::stop::Stop;

/// Starts the signal thread for SIGTERM and SIGINT. It runs as long as the process. PID 1 of a container needs it in any
/// case: the kernel ignores a SIGTERM that PID 1 does not handle.
pub fn watch(stop: &Stop) -> io::Result<()> {
    start(stop, &[SIGTERM, SIGINT])
}

/// Like [`watch`], for a process that runs in a terminal and has to clean up: also handles SIGHUP, unless it is ignored
/// (`nohup`).
pub fn watch_terminal(stop: &Stop) -> io::Result<()> {
    if is_ignored(SIGHUP) { watch(stop) } else { start(stop, &[SIGTERM, SIGINT, SIGHUP]) }
}

fn start(stop: &Stop, signals: &[i32]) -> io::Result<()> {
    let mut signals = Signals::new(signals)?;
    let stop = stop.clone();
    let watching = Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if stop.is_set() {
                std::process::exit(128 + signal);
            }
            // The stop comes first: logging may block.
            stop.by_signal(signal);
            log::warn!("{}: stopping; send it again to exit at once", name(signal));
        }
    });
    watching.map(drop).map_err(explained)
}

/// Adds the likely cause to the error of a process that cannot start its first thread. The C library uses another system call
/// only if `clone3` is unknown (ENOSYS), but old seccomp profiles of container runtimes answer that it is not permitted.
fn explained(cause: io::Error) -> io::Error {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other(format!(
            "cannot start a thread: {cause}: the seccomp profile of the container runtime forbids clone3; use a runtime \
             that answers ENOSYS to it, such as Docker 20.10.10 or newer (docs/operations.md)"
        )),
        _ => cause,
    }
}

/// The name of a handled signal, or the number of another one.
pub fn name(signal: i32) -> String {
    match signal {
        SIGHUP => "SIGHUP".to_owned(),
        SIGINT => "SIGINT".to_owned(),
        SIGTERM => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

/// Whether this process was started with `signal` ignored. If that cannot be determined, the answer is yes, so that the
/// signal's disposition is left unchanged.
fn is_ignored(signal: i32) -> bool {
    fs::read_to_string("/proc/self/status").map_or(true, |status| is_in_mask(&status, signal))
}

/// Whether the line `SigIgn` of a process's status contains `signal`. Its lowest bit means signal 1.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift));
    mask.zip(bit).is_none_or(|(mask, bit)| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_found_in_the_mask() {
        let status =
            |mask: &str| format!("Name:\tcloner\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
        assert!(is_in_mask(&status("0000000000000001"), SIGHUP));
        assert!(!is_in_mask(&status("0000000000001000"), SIGHUP));
        assert!(is_in_mask(&status("0000000000004002"), SIGINT) && !is_in_mask(&status("1"), SIGTERM));
        assert!(is_in_mask("no such line", SIGHUP), "unknown counts as ignored");
    }
}
