//! Access control lists in the kernel's format: which mode an entry may have if its list cannot be kept.
//!
//! If an entry has a list, the group bits of its mode are the mask of the list. Without the list the same bits would be
//! the rights of the group, and users whom the list restricted would get the rights of all others.

/// The version. Entries of a tag, permissions and an id follow, all little-endian (`linux/posix_acl_xattr.h`).
const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_BYTES: usize = 8;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const ALL: u32 = 0o7;

/// The entries: tag and permissions. `None` if `list` is not an access control list.
fn entries(list: &[u8]) -> Option<impl Iterator<Item = (u16, u32)>> {
    let entries = list.strip_prefix(&VERSION)?;
    entries.len().is_multiple_of(ENTRY_BYTES).then(|| {
        entries.chunks_exact(ENTRY_BYTES).map(|entry| {
            let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            (number(0), u32::from(number(2)) & ALL)
        })
    })
}

/// Whether the list is equivalent to a mode. The kernel stores such a list as a mode.
pub fn is_a_mode(list: &[u8]) -> bool {
    entries(list).is_some_and(|mut entries| entries.all(|(tag, _)| !matches!(tag, USER | GROUP | MASK)))
}

/// The `mode` of an entry that loses its access control list. It grants nothing that the list did not grant. If the
/// content of the list is unknown (`None`), the group gets the rights of all others.
pub fn without(mode: u32, list: Option<&[u8]>) -> u32 {
    let mut group = mode >> 3 & ALL;
    let mut other = mode & ALL;
    let Some(entries) = list.and_then(entries) else {
        return mode & !0o070 | (group & other) << 3;
    };
    let entries: Vec<_> = entries.collect();
    let mask = entries.iter().find(|(tag, _)| *tag == MASK).map_or(ALL, |&(_, bits)| bits);
    for (tag, bits) in entries {
        let bits = bits & mask;
        match tag {
            GROUP_OBJ => group &= bits,
            // A named user may belong to the group, or to the others.
            USER => (group, other) = (group & bits, other & bits),
            // A member of a named group had the rights of that group, or of the file's group if it belongs to both.
            GROUP => other &= bits,
            _ => {}
        }
    }
    mode & !0o077 | group << 3 | other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut list = VERSION.to_vec();
        for (tag, bits) in entries {
            list.extend([tag.to_le_bytes(), bits.to_le_bytes(), [0; 2], [0; 2]].concat());
        }
        list
    }

    #[test]
    fn without_its_list_an_entry_grants_nothing_new() {
        // user::rwx user:1000:rwx group::--- mask::rwx other::---
        let named = list(&[(1, 7), (USER, 7), (GROUP_OBJ, 0), (MASK, 7), (0x20, 0)]);
        assert_eq!(without(0o4770, Some(&named)), 0o4700);
        // user:1000:--- group::r-x mask::r-x other::r--
        let kept_out = list(&[(1, 7), (USER, 0), (GROUP_OBJ, 5), (MASK, 5), (0x20, 4)]);
        assert_eq!(without(0o754, Some(&kept_out)), 0o700);
        // group::rwx group:100:r-- mask::r-x other::r-x
        let groups = list(&[(1, 7), (GROUP_OBJ, 7), (GROUP, 4), (MASK, 5), (0x20, 5)]);
        assert_eq!(without(0o755, Some(&groups)), 0o754);
        assert_eq!((without(0o770, None), without(0o755, Some(b"?"))), (0o700, 0o755));
    }

    #[test]
    fn a_list_without_named_entries_is_a_mode() {
        assert!(is_a_mode(&list(&[(1, 6), (GROUP_OBJ, 4), (0x20, 4)])));
        assert!(!is_a_mode(&list(&[(1, 6), (GROUP_OBJ, 4), (MASK, 4), (0x20, 4)])) && !is_a_mode(b""));
    }
}
