//! Closes files that were written, and reports the errors of `close`.
//!
//! Object stores, network filesystems and quotas report at `close` what they could not store; the standard library drops that
//! error.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Closes a file. After an error its content may be lost, even if it was synced.
pub fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// Returns the error that closing `file` would return, and leaves it open, with its locks: closes a duplicate of the descriptor,
/// which the filesystem treats like any other close.
pub fn flush(file: impl AsFd) -> io::Result<()> {
    close(file.as_fd().try_clone_to_owned()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_flushed_file_is_still_open() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a").unwrap();
        flush(&file).unwrap();
        file.write_all(b"b").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2);
        close(file).unwrap();
    }
}
