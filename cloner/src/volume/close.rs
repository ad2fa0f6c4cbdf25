//! Closing files that were written, and hearing what the filesystem says to that.
//!
//! Object stores, network filesystems and quotas report at `close` what they could not keep; the standard library drops
//! that error.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Closes a file. An error means that its content may not have been kept, whatever was synced before.
pub fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// Asks the filesystem what it would say to closing `file`, and leaves it open, with its locks. Every close of a descriptor
/// is told to the filesystem, also that of a duplicate.
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
