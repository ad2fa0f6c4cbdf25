//! Files with several names: the archive stores the first name as the file, and the others as links to it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::attributes::meta::Meta;

/// The maximum memory for the names of files whose other names were not found yet: enough for 80,000 files with typical
/// names. A tree of hard-linked backups can have millions. Beyond this limit a file is stored once per name, which
/// counts as a link that was not kept.
const BUDGET_BYTES: usize = 10 << 20;
/// The memory for an entry in addition to its name: key, count, check, pointer, hash table, allocator.
const OVERHEAD_BYTES: usize = 104;
/// Files beyond the limit are recognized by a bit in this bit set. Several files may share a bit. The set has 256 KiB,
/// and is only allocated when the limit is reached.
const FORGOTTEN_BITS: usize = 1 << 21;

/// Remembers files until all their names were found.
pub(super) struct Links {
    first: HashMap<(u64, u64), First>,
    left_bytes: usize,
    forgotten: Vec<u64>,
}

struct First {
    name: Box<[u8]>,
    missing: u64,
    /// A hash of the properties that are equal for all names of a file.
    likeness: u64,
}

/// The role of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The only name, or the first one, as far as is known.
    First,
    /// A further name of a stored file.
    Further,
    /// A further name of a stored file that was not remembered.
    Unlinked,
}

impl Links {
    pub(super) fn new() -> Self {
        Self { first: HashMap::new(), left_bytes: BUDGET_BYTES, forgotten: Vec::new() }
    }

    /// Determines the role of a name of the file `meta`. If it is a further name, `target` is set to the first one.
    ///
    /// Equal inode numbers are not sufficient: filesystems in user space may give one number to several files. All
    /// names of a file have the same size, times, mode and owner.
    pub(super) fn meet(&mut self, meta: &Meta, target: &mut Vec<u8>) -> Name {
        target.clear();
        if meta.links < 2 {
            return Name::First;
        }
        let identity = meta.identity();
        let Some(first) = self.first.get_mut(&identity) else {
            return if self.is_forgotten(meta) { Name::Unlinked } else { Name::First };
        };
        if first.likeness != likeness(meta) {
            return Name::First;
        }
        target.extend_from_slice(&first.name);
        first.missing -= 1;
        if first.missing == 0
            && let Some(first) = self.first.remove(&identity)
        {
            self.left_bytes += cost_bytes(&first.name);
        }
        Name::Further
    }

    /// Remembers that the file `meta` was stored as `name`.
    pub(super) fn add(&mut self, meta: &Meta, name: &[u8]) {
        let identity = meta.identity();
        let cost_bytes = cost_bytes(name);
        if meta.links < 2 || self.first.contains_key(&identity) {
            return;
        }
        if cost_bytes > self.left_bytes {
            self.forget(meta);
            return;
        }
        self.left_bytes -= cost_bytes;
        let missing = meta.links - 1;
        let likeness = likeness(meta);
        self.first.insert(identity, First { name: name.into(), missing, likeness });
    }

    fn forget(&mut self, meta: &Meta) {
        self.forgotten.resize(FORGOTTEN_BITS / 64, 0);
        let bit = forgotten_bit(meta);
        self.forgotten[bit / 64] |= 1 << (bit % 64);
    }

    fn is_forgotten(&self, meta: &Meta) -> bool {
        let bit = forgotten_bit(meta);
        self.forgotten.get(bit / 64).is_some_and(|bits| bits & (1 << (bit % 64)) != 0)
    }
}

fn cost_bytes(name: &[u8]) -> usize {
    name.len() + OVERHEAD_BYTES
}

fn likeness(meta: &Meta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (meta.file_type.as_raw_mode(), meta.mode, meta.uid, meta.gid, meta.links).hash(&mut hasher);
    (meta.size_bytes, meta.mtime_seconds, meta.mtime_nanoseconds, meta.ctime).hash(&mut hasher);
    hasher.finish()
}

fn forgotten_bit(meta: &Meta) -> usize {
    let mut hasher = DefaultHasher::new();
    meta.identity().hash(&mut hasher);
    usize::try_from(hasher.finish() % FORGOTTEN_BITS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;

    fn file(inode: u64, links: u64) -> Meta {
        let file_type = FileType::RegularFile;
        let mode = 0o644;
        let uid = 0;
        let gid = 0;
        let size_bytes = 1;
        let allocated_blocks = 8;
        let mtime_seconds = 1000;
        let mtime_nanoseconds = 0;
        let ctime = (1000, 0);
        let device = 1;
        let node = (0, 0);
        Meta {
            file_type,
            mode,
            uid,
            gid,
            size_bytes,
            allocated_blocks,
            mtime_seconds,
            mtime_nanoseconds,
            ctime,
            device,
            inode,
            links,
            node,
        }
    }

    #[test]
    fn a_file_is_forgotten_after_its_last_name() {
        let mut links = Links::new();
        let mut target = Vec::new();
        let meta = file(2, 3);
        links.add(&meta, b"a");
        for _ in 0..2 {
            assert_eq!(links.meet(&meta, &mut target), Name::Further);
            assert_eq!(target, b"a");
        }
        assert_eq!(links.meet(&meta, &mut target), Name::First);
        assert_eq!((links.left_bytes, links.first.len()), (BUDGET_BYTES, 0));
    }

    #[test]
    fn a_file_with_one_name_is_never_remembered() {
        let mut links = Links::new();
        links.add(&file(2, 1), b"a");
        assert_eq!(links.meet(&file(2, 1), &mut Vec::new()), Name::First);
    }

    #[test]
    fn different_files_with_one_inode_number_are_not_linked() {
        let mut links = Links::new();
        links.add(&file(2, 2), b"a");
        let others: [fn(&mut Meta); 4] = [
            |meta| meta.size_bytes = 2,
            |meta| meta.mtime_nanoseconds = 1,
            |meta| meta.mode = 0o600,
            |meta| meta.ctime = (1001, 0),
        ];
        for other in others {
            let mut meta = file(2, 2);
            other(&mut meta);
            assert_eq!(links.meet(&meta, &mut Vec::new()), Name::First);
        }
        assert_eq!(links.meet(&file(2, 2), &mut Vec::new()), Name::Further);
    }

    #[test]
    fn beyond_the_budget_further_names_are_known_to_be_unlinked() {
        let mut links = Links::new();
        links.add(&file(1, 3), &[b'x'; BUDGET_BYTES]);
        assert_eq!(links.meet(&file(1, 3), &mut Vec::new()), Name::Unlinked);
        assert_eq!(
            links.meet(&file(2, 2), &mut Vec::new()),
            Name::First,
            "another file with names elsewhere"
        );
    }

    #[test]
    fn the_budget_is_enough_for_eighty_thousand_files() {
        let mut links = Links::new();
        for inode in 0..80_000 {
            links.add(&file(inode, 2), format!("var/lib/app/{inode:06}").as_bytes());
        }
        assert!(links.forgotten.is_empty());
    }
}
