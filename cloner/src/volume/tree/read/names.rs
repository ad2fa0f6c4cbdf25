//! The names in one directory, sorted, in batches of bounded memory.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, RawDir, SeekFrom, seek};

/// A sorted part of the names in a directory: the smallest names after a given one, as many as the memory limit allows.
pub(super) struct NameBatch {
    /// The names, each followed by a zero byte.
    arena: Vec<u8>,
    slots: Vec<NameSlot>,
    next: usize,
    /// Whether the directory has names after this batch.
    more: bool,
}

#[derive(Clone, Copy)]
struct NameSlot {
    start: u32,
    len: u16,
    file_type: FileType,
}

impl NameBatch {
    /// Reads the directory `dir` from its beginning and keeps the smallest names after `after`, in at most
    /// `budget_bytes` of memory (but at least one name). `buffer` is working space, of which the capacity is used.
    pub(super) fn read(
        dir: BorrowedFd<'_>,
        after: Option<&[u8]>,
        budget_bytes: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Self> {
        seek(dir, SeekFrom::Start(0))?;
        let mut batch = Self { arena: Vec::new(), slots: Vec::new(), next: 0, more: false };
        // The smallest name that is known not to belong to this batch.
        let mut bound: Option<Vec<u8>> = None;
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let wanted = name != b"." && name != b".." && after.is_none_or(|after| name > after);
            if !wanted || bound.as_ref().is_some_and(|bound| name >= bound.as_slice()) {
                continue;
            }
            if batch.used_bytes() + cost_bytes(name) > budget_bytes && batch.slots.len() > 1 {
                bound = Some(batch.drop_greater_half());
                if bound.as_ref().is_some_and(|bound| name >= bound.as_slice()) {
                    continue;
                }
            }
            batch.push(entry.file_name(), entry.file_type())?;
        }
        batch.sort();
        Ok(batch)
    }

    /// The next name in order, with its type according to the directory (`Unknown` on some filesystems).
    pub(super) fn next(&mut self) -> Option<(&CStr, FileType)> {
        let turn = self.next;
        self.next = (turn + 1).min(self.slots.len());
        self.get(turn)
    }

    /// The index of the next name.
    pub(super) fn turn(&self) -> usize {
        self.next
    }

    /// The name at this index of the order.
    pub(super) fn get(&self, index: usize) -> Option<(&CStr, FileType)> {
        let slot = self.slots.get(index)?;
        let start = slot.start as usize;
        let len = usize::from(slot.len);
        let name = CStr::from_bytes_with_nul(&self.arena[start..=start + len]).ok()?;
        Some((name, slot.file_type))
    }

    /// Whether all names of this batch were taken.
    pub(super) fn is_spent(&self) -> bool {
        self.next == self.slots.len()
    }

    /// Whether the directory has names after this batch.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// The last name that was taken.
    pub(super) fn last(&self) -> Option<&[u8]> {
        let slot = self.slots.get(self.next.checked_sub(1)?)?;
        Some(self.name(slot))
    }

    fn push(&mut self, name: &CStr, file_type: FileType) -> io::Result<()> {
        let too_large = |_| io::Error::other("the name is too long");
        let start = u32::try_from(self.arena.len()).map_err(too_large)?;
        let len = u16::try_from(name.count_bytes()).map_err(too_large)?;
        self.arena.extend_from_slice(name.to_bytes_with_nul());
        self.slots.push(NameSlot { start, len, file_type });
        Ok(())
    }

    fn name(&self, slot: &NameSlot) -> &[u8] {
        let start = slot.start as usize;
        &self.arena[start..start + usize::from(slot.len)]
    }

    fn sort(&mut self) {
        let Self { arena, slots, .. } = self;
        let name = |slot: &NameSlot| &arena[slot.start as usize..slot.start as usize + usize::from(slot.len)];
        slots.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        // A directory that changes while it is read may return a name twice.
        slots.dedup_by(|b, a| name(a) == name(b));
    }

    /// Keeps the smaller half and returns the smallest name that was dropped.
    fn drop_greater_half(&mut self) -> Vec<u8> {
        self.sort();
        self.more = true;
        let keep = self.slots.len().div_ceil(2);
        let bound = self.slots.get(keep).map_or_else(Vec::new, |slot| self.name(slot).to_vec());
        let mut arena = Vec::new();
        self.slots.truncate(keep);
        for slot in &mut self.slots {
            let start = slot.start as usize;
            // This cannot overflow: the new arena is a part of the old one.
            slot.start = u32::try_from(arena.len()).unwrap_or(u32::MAX);
            arena.extend_from_slice(&self.arena[start..=start + usize::from(slot.len)]);
        }
        self.arena = arena;
        bound
    }

    fn used_bytes(&self) -> usize {
        self.arena.len() + self.slots.len() * size_of::<NameSlot>()
    }
}

fn cost_bytes(name: &[u8]) -> usize {
    name.len() + 1 + size_of::<NameSlot>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// All names of a directory in the order of the batches, and the number of batches.
    fn all(dir: &File, budget_bytes: usize) -> (Vec<Vec<u8>>, usize) {
        let mut buffer = Vec::with_capacity(4096);
        let mut names = Vec::<Vec<u8>>::new();
        let mut batches = 0;
        loop {
            let after = names.last().cloned();
            let mut batch =
                NameBatch::read(dir.as_fd(), after.as_deref(), budget_bytes, &mut buffer).unwrap();
            batches += 1;
            while let Some((name, _)) = batch.next() {
                names.push(name.to_bytes().to_vec());
            }
            assert_eq!(batch.last(), names.last().map(Vec::as_slice));
            if !batch.has_more() {
                return (names, batches);
            }
        }
    }

    #[test]
    fn a_small_budget_gives_the_same_names_in_the_same_order_as_a_large_one() {
        let directory = tempfile::tempdir().unwrap();
        for i in 0..500_u32 {
            let name = format!("{:x}{}", i.wrapping_mul(2_654_435_761), "n".repeat((i % 90) as usize));
            File::create(directory.path().join(name)).unwrap();
        }
        let dir = File::open(directory.path()).unwrap();
        let (whole, once) = all(&dir, 1 << 20);
        assert_eq!((whole.len(), once), (500, 1));
        assert!(whole.is_sorted());
        for budget_bytes in [0, 100, 1000, 5000] {
            let (names, batches) = all(&dir, budget_bytes);
            assert_eq!(names, whole);
            assert!(batches > 1);
        }
    }

    #[test]
    fn names_are_ordered_by_their_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "B", "é", "a-", "a/..", ".h"].map(|name| name.replace('/', "0")) {
            File::create(directory.path().join(name)).unwrap();
        }
        let dir = File::open(directory.path()).unwrap();
        let names = all(&dir, 1 << 20).0.into_iter().map(|name| String::from_utf8(name).unwrap());
        assert_eq!(names.collect::<Vec<_>>(), [".h", "B", "a", "a-", "a0..", "é"]);
    }
}
