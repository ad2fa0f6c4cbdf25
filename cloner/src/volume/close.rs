//! Closes files that were written, and reports the errors of `close`.
//!
//! Object stores, network filesystems and quotas report data that they could not store when a file is closed. The
//! standard library drops that error.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Closes a file. If this fails, the content of the file may be lost, even if it was synced.
pub fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// Returns the error that closing `file` would return, but leaves the file open with its locks. Closes a duplicate of
/// the descriptor, which the filesystem treats like any other close.
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
