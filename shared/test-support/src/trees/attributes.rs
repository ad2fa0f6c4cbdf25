//! Extended attributes, access control lists and capabilities of files in trees.

use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};

use crate::is_root;

/// Sets an extended attribute.
///
/// # Panics
///
/// If the attribute cannot be set.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|errno| panic!("cannot set {name} of {}: {errno}", path.display()));
}

/// The value of an extended attribute; `None` if the file does not have it.
pub fn get_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    lgetxattr(path, name, &mut value[..]).ok().map(|len| value[..len].to_vec())
}

/// All extended attributes with their values, sorted, except for the SELinux label, which the system gives to every file.
pub fn xattrs_of(path: &Path) -> Vec<String> {
    let mut names = vec![0; 1 << 16];
    let len = llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
    let mut all: Vec<_> = names
        .filter(|name| name != "security.selinux")
        .map(|name| format!("{name}={:?}", get_xattr(path, &name)))
        .collect();
    all.sort();
    all
}

/// An access control list in the kernel's format, with the permissions of the owner, of user 77, of the group, of the mask and of
/// others.
pub fn acl(owner: u16, user: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, owner, u32::MAX),
        (2, user, 77),
        (4, group, u32::MAX),
        (0x10, mask, u32::MAX),
        (0x20, other, u32::MAX),
    ] {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// The capability `cap_net_raw=ep` in the kernel's format.
pub const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Adds attributes to some entries of the tree that `make_torture` has created in `top`. This changes times.
pub fn give_attributes(top: &Path) {
    let at = |name: &str| top.join(name);
    set_xattr(&at("some"), "user.origin", b"a line\nand \0 more=100%");
    set_xattr(&at("some"), "user.odd=name%25", b"");
    set_xattr(&at("nothing"), "user.of nothing", &[0xff; 700]);
    set_xattr(&at("islands"), "user.sparse", b"islands");
    set_xattr(&at("sub/deeper"), "user.folder", b"deeper");
    set_xattr(&at("many"), "system.posix_acl_access", &acl(6, 4, 0, 4, 0));
    set_xattr(&at("sub"), "system.posix_acl_access", &acl(7, 7, 5, 7, 5));
    set_xattr(&at("sub"), "system.posix_acl_default", &acl(7, 7, 5, 5, 0));
    set_xattr(&at("closed"), "system.posix_acl_default", &acl(5, 5, 5, 5, 0));
    let long = at(&format!("sub/{}{}", "long/".repeat(18), "f".repeat(90)));
    if long.exists() {
        set_xattr(&long, "user.long", &[b'l'; 1500]);
    }
    if is_root() {
        set_xattr(&at("zz/setuid"), "security.capability", &CAPABILITY);
        set_xattr(&at("exact"), "trusted.overlay.opaque", b"y");
        set_xattr(&at("dangling"), "trusted.of.a.link", b"link");
        if at("null").exists() {
            set_xattr(&at("null"), "trusted.of.a.device", b"device");
            set_xattr(&at("pipe"), "system.posix_acl_access", &acl(6, 6, 4, 6, 0));
        }
    }
}
