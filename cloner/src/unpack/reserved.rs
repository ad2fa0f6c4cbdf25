//! Names that a clone uses for itself at the top of a volume until it is complete. What has one of them is no part of a
//! volume's content.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use decant_shared::contract::DISK_IMAGE;

use crate::unpack::staging::STAGING_NAME;

/// What is left under a name and cannot be removed (it is immutable, or belongs to another user) is in the way for ever.
/// So there are this many more names, which end in a number.
const FURTHER_NAMES: u8 = 9;

/// The name under which an image file grows. A long name is cut, so that it still fits.
pub fn temporary_name(image_name: &OsStr) -> OsString {
    const KEPT_BYTES: usize = 200;
    let kept = &image_name.as_bytes()[..image_name.len().min(KEPT_BYTES)];
    OsString::from_vec([b".", kept, STAGING_NAME.as_bytes()].concat())
}

/// `name` and those that may be used in its place, in the order in which they are tried.
pub(crate) fn names_for(name: &OsStr) -> impl Iterator<Item = OsString> {
    let further = (1..=FURTHER_NAMES).map(|number| {
        let mut further = name.to_owned();
        further.push(format!(".{number}"));
        further
    });
    std::iter::once(name.to_owned()).chain(further)
}

/// Whether `name`, at the top of a volume, is one of them: of the folder that a tree grows in, or of `disk.img`.
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
