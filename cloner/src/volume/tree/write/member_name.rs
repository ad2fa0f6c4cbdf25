//! The checked name of a member: it cannot lead out of the target directory.

use crate::attributes::name::shown;
use crate::error::{Error, Result};
use crate::tar::entry::PATH_LIMIT_BYTES;

/// A name below the target directory: without `..` and NUL, and not too long. Leading slashes, double slashes and `.`
/// are ignored, as in GNU tar.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberName<'a>(&'a [u8]);

impl<'a> MemberName<'a> {
    /// Checks `name`, which is the name of a member or the target of a hard link.
    pub(super) fn new(name: &'a [u8]) -> Result<Self> {
        if name.split(|&byte| byte == b'/').any(|component| component == b"..") {
            return Err(Error::damaged(format!(
                "the name {} leads out of the target directory",
                shown(name)
            )));
        }
        // Slashes at both ends do not count.
        if name.len() > PATH_LIMIT_BYTES + 2 {
            let bytes = name.len();
            let name = shown(name);
            let text =
                format!("the name {name} is too long: it has {bytes} bytes, more than {PATH_LIMIT_BYTES}");
            return Err(Error::damaged(text));
        }
        if name.contains(&0) {
            return Err(Error::damaged(format!("the name {} contains a zero byte", shown(name))));
        }
        Ok(Self(name))
    }

    /// The components, from the top down.
    pub(super) fn components(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b'/').filter(|&component| !matches!(component, b"" | b"."))
    }

    /// The parent directory, and the name in it. `None` for the target directory itself.
    pub(super) fn split(self) -> Option<(Self, &'a [u8])> {
        let mut rest = self.0;
        loop {
            let slash = rest.iter().rposition(|&byte| byte == b'/');
            let (parent, last) = match slash {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (&rest[..0], rest),
            };
            if !matches!(last, b"" | b".") {
                return Some((Self(parent), last));
            }
            slash?;
            rest = parent;
        }
    }

    /// The path relative to the target directory.
    pub(super) fn relative(self) -> &'a [u8] {
        let start = self.0.iter().position(|&byte| byte != b'/').unwrap_or(self.0.len());
        match &self.0[start..] {
            b"" => b".",
            path => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_are_ignored() {
        for name in ["a/b", "./a/b", "//a//./b/", "a/b/.", "/a/b//./"] {
            let name = MemberName::new(name.as_bytes()).unwrap();
            assert_eq!(name.components().collect::<Vec<_>>(), [b"a", b"b"]);
            let (parent, last) = name.split().unwrap();
            assert_eq!(last, b"b");
            assert_eq!(parent.components().collect::<Vec<_>>(), [b"a"]);
        }
        for name in ["", ".", "./", "/", "//./"] {
            let name = MemberName::new(name.as_bytes()).unwrap();
            assert!(name.split().is_none() && name.components().next().is_none());
        }
    }

    #[test]
    fn the_length_of_a_name_is_limited() {
        let longest = "d/".repeat(PATH_LIMIT_BYTES / 2);
        assert!(MemberName::new(format!("/{longest}/").as_bytes()).is_ok());
        assert!(MemberName::new(format!("{longest}fff").as_bytes()).is_err());
    }

    #[test]
    fn a_name_never_leads_up() {
        for name in ["..", "../a", "a/..", "a/../../b", "/..", "a\0b"] {
            assert!(MemberName::new(name.as_bytes()).is_err(), "{name:?}");
        }
        for name in ["...", "a..", "..a/b"] {
            assert!(MemberName::new(name.as_bytes()).is_ok(), "{name:?}");
        }
    }
}
