//! Shares blocks of a source file with a target file on the same filesystem (`FICLONE`), instead of copying them.
//!
//! The target's file gets all blocks of the source file in one call. A later write to the source does not change it. The
//! digest is computed from the target's file, so it is the digest of what the target has
//! (docs/decisions/0016-reflinks.md).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::ioctl_ficlone;
use rustix::io::{Errno, retry_on_intr};

use crate::stream::ShareOffer;
use crate::volume::optional_calls::{Call, Class};

/// Files of at least this size share their blocks. For a smaller file the call takes longer than copying.
pub const SHARED_LEAST_BYTES: u64 = 256 << 10;

/// Makes `file` share the blocks of the offered file, and answers the offer. `file` must have no content and be open for
/// reading and writing. Returns whether the blocks are shared. If they are not, `file` still has no content, and its size
/// is unchanged.
pub(crate) fn accept(offer: &ShareOffer, file: &File) -> io::Result<bool> {
    let size_bytes = file.metadata()?.len();
    let shared = retry_on_intr(|| ioctl_ficlone(file, offer.source()));
    let refusal = match (shared, file.try_clone()) {
        (Ok(()), Ok(readable)) => {
            offer.answer(Ok(readable));
            return Ok(true);
        }
        (Ok(()), Err(cause)) => Errno::from_io_error(&cause).unwrap_or(Errno::IO),
        (Err(errno), _) => errno,
    };
    if shared.is_ok() || !is_refused_early(refusal) {
        // A part of the blocks may be shared.
        file.set_len(0)?;
        file.set_len(size_bytes)?;
    }
    offer.answer(Err(refusal));
    Ok(false)
}

/// Whether no file of this clone can share blocks after this error: the filesystems differ, or the call is not supported
/// or not permitted.
pub(crate) fn is_final(errno: Errno) -> bool {
    errno == Errno::XDEV
        || (errno != Errno::INVAL && matches!(Class::of(errno), Class::Unsupported | Class::NotPermitted))
}

/// Logs why the blocks of `path` are not shared: as a warning only if the disk failed or is full.
pub(crate) fn note_refusal(path: &Path, errno: Errno) {
    let level = match Class::of(errno) {
        Class::Failing => log::Level::Warn,
        _ => log::Level::Debug,
    };
    log::log!(level, "copying {}, because its blocks cannot be shared: {errno}", path.display());
}

/// Whether the kernel returns this error before it shares any blocks.
fn is_refused_early(errno: Errno) -> bool {
    matches!(Class::of(errno), Class::Unsupported | Class::NotPermitted)
        || Call::Reflink.named().iter().any(|&(named, _)| named == errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_offer_of_a_file_that_cannot_be_shared_is_refused_and_writes_nothing() {
        // A pipe has no blocks.
        let (pipe, _other) = io::pipe().unwrap();
        let offer = ShareOffer::new(File::from(std::os::fd::OwnedFd::from(pipe)));
        let mut target = tempfile::tempfile().unwrap();
        target.write_all(b"x").unwrap();
        assert!(!accept(&offer, &target).unwrap());
        assert_eq!(target.metadata().unwrap().len(), 1);
        let errno = offer.into_answer().unwrap_err();
        assert!(is_refused_early(errno), "{errno}");
    }

    #[test]
    fn only_some_errors_end_sharing_for_the_whole_clone() {
        for errno in [Errno::XDEV, Errno::OPNOTSUPP, Errno::NOTTY, Errno::NOSYS, Errno::PERM] {
            assert!(is_final(errno), "{errno:?}");
        }
        for errno in [Errno::INVAL, Errno::TXTBSY, Errno::NOSPC, Errno::IO, Errno::CANCELED] {
            assert!(!is_final(errno), "{errno:?}");
        }
    }
}
