//! Optional system calls of reading: what is done when one of them does not work. The table of docs/protocol.md in code.

use rustix::io::Errno;

/// A system call that reading a source can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `lseek` with `SEEK_DATA` or `SEEK_HOLE`.
    FindHoles,
    /// `posix_fadvise`, and `preadv2` with `RWF_NOWAIT`: advice about the page cache, and a look at it.
    Advise,
    /// `listxattr`.
    ListAttributes,
    /// `getxattr` of a name that was listed.
    ReadAttribute,
}

/// What follows from a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Continue without it: nothing is lost.
    Without,
    /// Continue without it; what it would have told counts as not kept.
    NotKept,
    /// The thing it asks about is not there (any more): the end of the file, or a removed attribute.
    Absent,
    /// Fail: the error says something about the source itself.
    Fail,
}

/// What to do when `call` ends with `errno`. Errors that mean "not supported here" differ between filesystems: FUSE says
/// `ENOSYS` or `EOPNOTSUPP`, network filesystems `EINVAL` or `EOPNOTSUPP`, a seccomp filter `EPERM` or `ENOSYS`.
pub fn decide(call: Call, errno: Errno) -> Decision {
    let is_unsupported = matches!(errno, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY);
    let is_withheld = matches!(errno, Errno::PERM | Errno::ACCESS);
    match call {
        Call::Advise => Decision::Without,
        Call::FindHoles if errno == Errno::NXIO => Decision::Absent,
        // All of it is read as data, which is right on every filesystem.
        Call::FindHoles if is_unsupported || is_withheld || errno == Errno::SPIPE => Decision::Without,
        Call::ListAttributes if is_unsupported => Decision::Without,
        // `ERANGE` and `E2BIG`: more than the kernel can tell.
        Call::ListAttributes if is_withheld || matches!(errno, Errno::RANGE | Errno::TOOBIG) => {
            Decision::NotKept
        }
        Call::ReadAttribute if errno == Errno::NODATA => Decision::Absent,
        Call::ReadAttribute
            if is_unsupported || is_withheld || matches!(errno, Errno::RANGE | Errno::TOOBIG) =>
        {
            Decision::NotKept
        }
        Call::FindHoles | Call::ListAttributes | Call::ReadAttribute => Decision::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_filesystem_does_not_support_never_ends_a_clone() {
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS, Errno::PERM, Errno::ACCESS]
        {
            for call in [Call::FindHoles, Call::Advise, Call::ListAttributes, Call::ReadAttribute] {
                let decision = decide(call, errno);
                assert!(matches!(decision, Decision::Without | Decision::NotKept), "{call:?} {errno:?}");
            }
            // What was listed has a value, which is then missing.
            assert_eq!(decide(Call::ReadAttribute, errno), Decision::NotKept);
        }
    }

    #[test]
    fn errors_of_the_source_itself_end_it() {
        for errno in [Errno::IO, Errno::STALE, Errno::NODEV, Errno::TIMEDOUT, Errno::NOTCONN] {
            for call in [Call::FindHoles, Call::ListAttributes, Call::ReadAttribute] {
                assert_eq!(decide(call, errno), Decision::Fail, "{call:?} {errno:?}");
            }
            assert_eq!(decide(Call::Advise, errno), Decision::Without);
        }
    }

    #[test]
    fn the_end_of_a_file_and_a_removed_attribute_are_no_errors() {
        assert_eq!(decide(Call::FindHoles, Errno::NXIO), Decision::Absent);
        assert_eq!(decide(Call::ReadAttribute, Errno::NODATA), Decision::Absent);
    }
}
