//! Attributes of directory entries: which are sent, which may be set, and which were lost.

pub mod acl;
pub(crate) mod meta;
pub mod name;
pub mod not_kept;

use std::fmt;

/// Longest value of an extended attribute, and longest list of names (Linux: `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
pub const XATTR_BYTES: usize = 64 << 10;
/// Longest name of an extended attribute (`XATTR_NAME_MAX`).
pub const XATTR_NAME_BYTES: usize = 255;

/// The name of an entry's access control list.
pub const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// The name of a directory's default access control list, which new entries inherit.
pub const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// The name of file capabilities.
pub const CAPABILITY: &[u8] = b"security.capability";

/// A kind of attribute. Losses are counted by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// Owner and group.
    Owner,
    /// Permission bits, including setuid and setgid.
    Mode,
    /// When the content was last modified.
    Time,
    /// An extended attribute of no other kind.
    Xattr,
    /// Access control lists.
    Acl,
    /// File capabilities.
    Capability,
    /// The link to another name: the file is stored again for this name.
    Link,
}

impl Attribute {
    /// All kinds, in the order of messages.
    pub const ALL: [Self; 7] =
        [Self::Owner, Self::Mode, Self::Time, Self::Xattr, Self::Acl, Self::Capability, Self::Link];

    /// The kind of the extended attribute `name`.
    pub fn of_xattr(name: &[u8]) -> Self {
        match name {
            CAPABILITY => Self::Capability,
            ACCESS_ACL | DEFAULT_ACL => Self::Acl,
            _ => Self::Xattr,
        }
    }

    /// The name of the kind in messages for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owners",
            Self::Mode => "modes",
            Self::Time => "times",
            Self::Xattr => "xattrs",
            Self::Acl => "acls",
            Self::Capability => "capabilities",
            Self::Link => "links",
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owners",
            Self::Mode => "permission bits",
            Self::Time => "modification times",
            Self::Xattr => "extended attributes",
            Self::Acl => "access control lists",
            Self::Capability => "file capabilities",
            Self::Link => "hard links",
        })
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Adds `kind`.
    pub fn insert(&mut self, kind: Attribute) {
        self.0 |= 1 << kind as u8;
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Whether the set contains `kind`.
    pub fn has(self, kind: Attribute) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// An extended attribute. Access control lists and capabilities are in the kernel's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// With its namespace, such as `user.origin`.
    pub name: Vec<u8>,
    /// The value: any bytes.
    pub value: Vec<u8>,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970. Negative for earlier times.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, always less than 1,000,000,000.
    pub nanoseconds: u32,
}

/// Whether a source leaves out the extended attribute `name` without counting it as lost. This applies to attributes
/// that belong to the place and not to the content, and to XFS's second name of an access control list.
pub fn is_of_the_place(name: &[u8]) -> bool {
    // The kubelet labels a volume for the pod that mounts it. If the volume had the label of another pod, the pod could
    // not read it.
    name == b"security.selinux" || is_second_name(name)
}

/// Whether a target sets the extended attribute `name`. In `security.` and `system.` only the names listed here are
/// set: the others control what the kernel trusts (IMA, EVM), or belong to one filesystem.
pub fn may_be_set(name: &[u8]) -> bool {
    let is_free = name.starts_with(b"user.") || name.starts_with(b"trusted.");
    (is_free && !is_second_name(name)) || matches!(name, CAPABILITY | ACCESS_ACL | DEFAULT_ACL)
}

/// XFS shows access control lists to root under a second name.
fn is_second_name(name: &[u8]) -> bool {
    name.starts_with(b"trusted.SGI_ACL_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_sets_only_known_attributes() {
        for name in ["user.a", "trusted.overlay.opaque", "security.capability", "system.posix_acl_access"] {
            assert!(may_be_set(name.as_bytes()), "{name}");
        }
        for name in [
            "security.selinux",
            "security.ima",
            "system.nfs4_acl",
            "trusted.SGI_ACL_FILE",
            "user",
            "",
            "os2.x",
        ] {
            assert!(!may_be_set(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_set_of_kinds_has_what_was_put_in() {
        let mut kinds = Kinds::default();
        kinds.insert(Attribute::Acl);
        kinds.insert(Attribute::Owner);
        let all: Vec<_> = Attribute::ALL.into_iter().filter(|&kind| kinds.has(kind)).collect();
        assert_eq!(all, [Attribute::Owner, Attribute::Acl]);
    }
}
