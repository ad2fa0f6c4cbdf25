//! Files with several names: the first one met is the file, the others are links to it.

use std::collections::HashMap;

/// Most memory for names of files whose other names are still to come. A tree of hard-linked backups can
/// have millions of them; beyond this budget such a file is stored once per name. Its content stays right.
const BUDGET_BYTES: usize = 4 << 20;
/// What an entry costs besides its name: key, count, pointer, hash table, allocator.
const OVERHEAD_BYTES: usize = 96;

/// Remembers files of which some names have not been met yet. Forgets a file when all were.
pub(super) struct Links {
    first: HashMap<(u64, u64), First>,
    left_bytes: usize,
    refused: u64,
}

struct First {
    name: Box<[u8]>,
    missing: u64,
}

impl Links {
    pub(super) fn new() -> Self {
        Self { first: HashMap::new(), left_bytes: BUDGET_BYTES, refused: 0 }
    }

    /// A name of the file `identity` (device, inode) was met. If it is not the first one, that one is put
    /// into `target`; returns whether it is known.
    pub(super) fn meet(&mut self, identity: (u64, u64), target: &mut Vec<u8>) -> bool {
        target.clear();
        let Some(first) = self.first.get_mut(&identity) else { return false };
        target.extend_from_slice(&first.name);
        first.missing -= 1;
        if first.missing == 0
            && let Some(first) = self.first.remove(&identity)
        {
            self.left_bytes += cost_bytes(&first.name);
        }
        true
    }

    /// The file `identity` was stored as `name` and has `links` names in all.
    pub(super) fn add(&mut self, identity: (u64, u64), name: &[u8], links: u64) {
        let cost_bytes = cost_bytes(name);
        if links < 2 || self.first.contains_key(&identity) {
            return;
        }
        if cost_bytes > self.left_bytes {
            self.refused += 1;
            return;
        }
        self.left_bytes -= cost_bytes;
        self.first.insert(identity, First { name: name.into(), missing: links - 1 });
    }

    /// How many files were not remembered because the budget was used up.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

fn cost_bytes(name: &[u8]) -> usize {
    name.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_forgotten_when_all_its_names_were_met() {
        let mut links = Links::new();
        let mut target = Vec::new();
        links.add((1, 2), b"a", 3);
        assert!(links.meet((1, 2), &mut target) && links.meet((1, 2), &mut target));
        assert_eq!(target, b"a");
        assert!(!links.meet((1, 2), &mut target));
        assert_eq!((links.left_bytes, links.first.len()), (BUDGET_BYTES, 0));
    }

    #[test]
    fn a_file_with_one_name_is_never_remembered() {
        let mut links = Links::new();
        links.add((1, 2), b"a", 1);
        assert!(!links.meet((1, 2), &mut Vec::new()));
    }

    #[test]
    fn beyond_the_budget_files_are_stored_again() {
        let mut links = Links::new();
        links.add((1, 1), &[b'x'; BUDGET_BYTES], 2);
        assert_eq!(links.refused(), 1);
        assert!(!links.meet((1, 1), &mut Vec::new()));
    }
}
