//! The names that a clone uses at the top of a volume until it is complete. Entries with these names do not belong to
//! the content of a volume.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use decant_shared::protocol::cdi::DISK_IMAGE;

/// The staging directory. It is inside the target directory for two reasons: a rename works only within a filesystem,
/// and the directory inherits the group that Kubernetes' `fsGroup` gives to the volume.
pub const STAGING_NAME: &str = ".decant-partial";

/// The directory for new entries, in the staging directory.
pub(crate) const FRESH: &str = "new";
/// The directory for entries that were replaced, in the staging directory.
pub(crate) const REPLACED: &str = "old";
/// The file whose lock a writing process holds. It contains the description of that process.
pub(crate) const WRITER: &str = "writer";
/// The file that marks a target directory as created by a copy that is not complete. It contains
/// `staging::identity_text` of the directory.
pub(crate) const MADE: &str = "made";

/// The number of additional names, which end in a number. They are used if a leftover cannot be removed (it is
/// immutable, or belongs to another user).
const FURTHER_NAMES: u8 = 9;

/// The temporary name of an image file. A long name is cut so that it fits. It then gets a digest of the whole name, so
/// that it stays unique.
pub fn temporary_name(image_name: &OsStr) -> OsString {
    /// Longer names are cut.
    const KEPT_BYTES: usize = 200;
    /// The length that is kept of a cut name. With the digest, the result is longer than any name that is not cut, so
    /// they cannot be equal.
    const HEAD_BYTES: usize = KEPT_BYTES - 2 * DIGEST_BYTES;
    /// Bytes of the digest: enough to avoid collisions.
    const DIGEST_BYTES: usize = 16;
    let name = image_name.as_bytes();
    if name.len() <= KEPT_BYTES {
        return OsString::from_vec([b".", name, STAGING_NAME.as_bytes()].concat());
    }
    let head = &name[..HEAD_BYTES];
    // Some filesystems accept only whole characters.
    let head = match str::from_utf8(head) {
        Err(error) if str::from_utf8(name).is_ok() => &head[..error.valid_up_to()],
        _ => head,
    };
    let digest = blake3::hash(name).to_hex();
    let filled = [head, &vec![b'_'; HEAD_BYTES - head.len()]].concat();
    let digest = &digest.as_bytes()[..2 * DIGEST_BYTES];
    OsString::from_vec([b".", filled.as_slice(), b"-", digest, STAGING_NAME.as_bytes()].concat())
}

/// `name` and its additional names, in the order in which they are tried.
pub(crate) fn names_for(name: &OsStr) -> impl Iterator<Item = OsString> {
    let further = (1..=FURTHER_NAMES).map(|number| {
        let mut further = name.to_owned();
        further.push(format!(".{number}"));
        further
    });
    std::iter::once(name.to_owned()).chain(further)
}

/// Whether `name`, at the top of a volume, is a name of the staging directory or a temporary name of `disk.img`.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    if !name.starts_with(b".d") {
        return false;
    }
    let first = match name {
        [first @ .., b'.', b'1'..=b'9'] => first,
        name => name,
    };
    first == STAGING_NAME.as_bytes() || first == temporary_name(OsStr::new(DISK_IMAGE)).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_has_a_temporary_name_of_its_own_that_fits() {
        let name = |text: String| temporary_name(text.as_ref());
        for letter in ["n", "é", "\u{10ffff}"] {
            let long = letter.repeat(210 / letter.len());
            let one = name(format!("{long}A"));
            let other = name(format!("{long}B"));
            assert_ne!(one, other);
            assert!(names_for(&one).all(|name| name.len() <= 255), "{one:?}");
            assert!(one.to_str().is_some());
            // A name that equals the rest of a cut name must have another temporary name.
            let short = one.as_bytes()[1..one.len() - STAGING_NAME.len()].to_vec();
            assert_ne!(temporary_name(&OsString::from_vec(short)), one);
        }
        assert_eq!(name("disk.img".into()), ".disk.img.decant-partial");
        assert_eq!(name("n".repeat(200)).len(), 216);
    }

    #[test]
    fn only_the_names_that_a_clone_uses_are_reserved() {
        for name in [".decant-partial", ".disk.img.decant-partial"] {
            assert!(names_for(name.as_ref()).all(|name| is_reserved(name.as_bytes())), "{name}");
            assert_eq!(names_for(name.as_ref()).count(), 10);
        }
        for name in [
            ".decant-partial.0",
            ".decant-partial.10",
            ".decant-partial-notes",
            "decant-partial",
            ".decant-partia",
            ".other.img.decant-partial",
            ".d",
            "",
        ] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
