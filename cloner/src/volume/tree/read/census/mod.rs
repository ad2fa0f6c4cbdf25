//! The census of a tree: hashes that identify its entries, in bounded memory. The scan takes a census, and the writer
//! compares its own with it.
//!
//! Two passes over an unchanged tree agree on every filesystem: the census does not depend on the position of holes, on
//! the order of a directory, on inode numbers alone (FUSE and overlayfs generate them, and forget them under memory
//! pressure), or on times of directories (btrfs shows the current time for a nested subvolume in a snapshot).

use rustix::fs::FileType;

use crate::attributes::meta::Meta;

/// The maximum number of slots of an outline: 384 KiB. In a larger tree several entries share a slot. The number is
/// even, so that slots can be merged in pairs.
const SLOTS_LIMIT: usize = 16 << 10;
/// The number of planned names that are compared with an unexpected one, to distinguish a removed entry from an added
/// one.
const LOOK_AHEAD_SLOTS: usize = 256;

/// The entries of a slot. For each property, the sum of its hashes over all entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CensusSlot {
    names: u32,
    /// Types and device numbers.
    kinds: u32,
    sizes: u32,
    times: u32,
    inodes: u32,
    changes: u32,
}

/// The result of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    entries: u64,
    /// A hash of all names, types, sizes and times.
    fingerprint: u64,
    /// The number of entries in each slot. The last slot may have fewer.
    per_slot: u64,
    slots: Vec<CensusSlot>,
}

impl Outline {
    /// The number of entries.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }
}

/// A difference between a tree and its outline, as text for the end of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference(pub(super) String);

/// Takes a census, and compares it with a planned outline.
pub(super) struct Census<'a> {
    planned: Option<&'a Outline>,
    seen: Outline,
    slot: CensusSlot,
    in_slot: u64,
    /// The latest entry, and the last one of the previous slot, for messages.
    latest: Vec<u8>,
    before_slot: Vec<u8>,
}

impl<'a> Census<'a> {
    /// With `planned`, every difference is reported at the end of its slot at the latest.
    pub(super) fn new(planned: Option<&'a Outline>) -> Self {
        let per_slot = planned.map_or(1, |planned| planned.per_slot);
        Self {
            planned,
            seen: Outline { per_slot, ..Outline::default() },
            slot: CensusSlot::default(),
            in_slot: 0,
            latest: Vec::new(),
            before_slot: Vec::new(),
        }
    }

    /// Adds the entry whose path from the root is `member`.
    pub(super) fn add(&mut self, member: &[u8], meta: &Meta) -> Result<(), Difference> {
        let facts = Facts::of(member, meta);
        self.seen.fingerprint = facts.folded(self.seen.fingerprint);
        self.seen.entries += 1;
        self.slot.add(&facts, meta);
        self.in_slot += 1;
        if self.planned.is_some() {
            if self.in_slot == 1 {
                std::mem::swap(&mut self.before_slot, &mut self.latest);
            }
            self.latest.clear();
            self.latest.extend_from_slice(member);
        }
        if self.in_slot < self.seen.per_slot { Ok(()) } else { self.end_slot() }
    }

    /// Ends the census. Errors: the difference between the planned outline and this one.
    pub(super) fn finish(&mut self) -> Result<Outline, Difference> {
        if self.in_slot > 0 {
            self.end_slot()?;
        }
        let Some(planned) = self.planned else { return Ok(std::mem::take(&mut self.seen)) };
        if self.seen.entries < planned.entries {
            let missing = planned.entries - self.seen.entries;
            return Err(Difference(match self.latest.as_slice() {
                [] => format!("all {missing} entries were removed"),
                last => format!("{missing} of its entries after {} were removed", quoted(last)),
            }));
        }
        if (self.seen.entries, self.seen.fingerprint) != (planned.entries, planned.fingerprint) {
            return Err(Difference("an entry changed".to_owned()));
        }
        Ok(std::mem::take(&mut self.seen))
    }

    fn end_slot(&mut self) -> Result<(), Difference> {
        let slot = std::mem::take(&mut self.slot);
        let in_slot = std::mem::take(&mut self.in_slot);
        let Some(planned) = self.planned else {
            self.seen.push(slot);
            return Ok(());
        };
        let index = usize::try_from((self.seen.entries - in_slot) / self.seen.per_slot).unwrap_or(usize::MAX);
        let Some(expected) = planned.slots.get(index) else {
            return Err(Difference(format!("{} was added", self.one_of(in_slot))));
        };
        if let Some(property) = expected.difference(&slot) {
            return Err(Difference(self.describe(property, index, &slot, in_slot)));
        }
        Ok(())
    }

    fn describe(&self, property: Property, index: usize, slot: &CensusSlot, in_slot: u64) -> String {
        let found = self.one_of(in_slot);
        match property {
            Property::Name if self.seen.per_slot == 1 && self.is_planned_later(index, slot) => {
                let after = match self.before_slot.as_slice() {
                    [] => String::new(),
                    previous => format!(" after {} and", quoted(previous)),
                };
                format!("an entry{after} before {found} was removed")
            }
            Property::Name if self.seen.per_slot == 1 => format!("{found} was added or renamed"),
            Property::Name => format!("{found} was added, removed or renamed"),
            Property::Kind => format!("the type of {found} changed"),
            Property::Size => format!("the size of {found} changed"),
            Property::Time => format!("{found} was written to"),
            Property::File => format!("{found} was replaced"),
        }
    }

    fn is_planned_later(&self, index: usize, slot: &CensusSlot) -> bool {
        let later = self.planned.and_then(|planned| planned.slots.get(index + 1..)).unwrap_or_default();
        later.iter().take(LOOK_AHEAD_SLOTS).any(|planned| planned.names == slot.names)
    }

    /// The latest entry, or the slot that ends with it.
    fn one_of(&self, in_slot: u64) -> String {
        let latest = quoted(&self.latest);
        if in_slot == 1 { latest } else { format!("one of the {in_slot} entries up to {latest}") }
    }
}

impl Outline {
    fn push(&mut self, slot: CensusSlot) {
        self.slots.push(slot);
        if self.slots.len() < SLOTS_LIMIT {
            return;
        }
        for at in 0..SLOTS_LIMIT / 2 {
            self.slots[at] = self.slots[2 * at].joined(&self.slots[2 * at + 1]);
        }
        self.slots.truncate(SLOTS_LIMIT / 2);
        self.per_slot *= 2;
    }
}

/// The properties of an entry that must be equal in two passes.
struct Facts {
    name: u64,
    kind: u32,
    node: (u32, u32),
    size_bytes: u64,
    mtime: (i64, u32),
}

impl Facts {
    fn of(member: &[u8], meta: &Meta) -> Self {
        // The entries of a directory already represent it, so its size and time are left out. A pipe or device is not
        // read, and its time changes when it is used.
        let has_content = matches!(meta.file_type, FileType::RegularFile | FileType::Symlink);
        let is_device = matches!(meta.file_type, FileType::CharacterDevice | FileType::BlockDevice);
        Self {
            name: hash_of(member),
            kind: meta.file_type.as_raw_mode(),
            node: if is_device { meta.node } else { (0, 0) },
            size_bytes: if has_content { meta.size_bytes } else { 0 },
            mtime: if has_content { (meta.mtime_seconds, meta.mtime_nanoseconds) } else { (0, 0) },
        }
    }

    /// Combines the hash `before` with these properties.
    fn folded(&self, before: u64) -> u64 {
        let kind = (u64::from(self.kind) << 32) ^ (u64::from(self.node.0) << 20) ^ u64::from(self.node.1);
        let mtime = (self.mtime.0.cast_unsigned() << 30) ^ u64::from(self.mtime.1);
        [self.name, kind, self.size_bytes, mtime].into_iter().fold(before, stirred)
    }
}

/// A property that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    Name,
    Kind,
    Size,
    Time,
    /// The file itself: it was replaced by another file with equal properties.
    File,
}

impl CensusSlot {
    fn add(&mut self, facts: &Facts, meta: &Meta) {
        // The hashes include the name of the entry, so that two files that swap their sizes are noticed.
        let name = facts.name;
        let sum = |sum: &mut u32, parts: [u64; 2]| *sum = sum.wrapping_add(mixed(name, parts));
        sum(&mut self.names, [0, 0]);
        sum(&mut self.kinds, [facts.kind.into(), (u64::from(facts.node.0) << 32) | u64::from(facts.node.1)]);
        sum(&mut self.sizes, [facts.size_bytes, 0]);
        sum(&mut self.times, [facts.mtime.0.cast_unsigned(), facts.mtime.1.into()]);
        // The entries of a directory represent its content.
        if meta.file_type != FileType::Directory {
            sum(&mut self.inodes, [meta.device, meta.inode]);
            sum(&mut self.changes, [meta.ctime.0.cast_unsigned(), meta.ctime.1.into()]);
        }
    }

    fn joined(&self, next: &Self) -> Self {
        Self {
            names: self.names.wrapping_add(next.names),
            kinds: self.kinds.wrapping_add(next.kinds),
            sizes: self.sizes.wrapping_add(next.sizes),
            times: self.times.wrapping_add(next.times),
            inodes: self.inodes.wrapping_add(next.inodes),
            changes: self.changes.wrapping_add(next.changes),
        }
    }

    /// The difference between these properties and `seen`. A file counts as replaced only if its inode number and its
    /// change time both differ: filesystems that generate inode numbers do not change that time, and a file that
    /// replaces another one gets a new change time.
    fn difference(&self, seen: &Self) -> Option<Property> {
        let is_other_file = self.inodes != seen.inodes && self.changes != seen.changes;
        [
            (self.names != seen.names, Property::Name),
            (self.kinds != seen.kinds, Property::Kind),
            (self.sizes != seen.sizes, Property::Size),
            (self.times != seen.times, Property::Time),
            (is_other_file, Property::File),
        ]
        .into_iter()
        .find_map(|(differs, property)| differs.then_some(property))
    }
}

/// A fast hash, because it is computed for every entry in every pass. A deliberate collision would only hide a change
/// of the source from its own clone.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| stirred(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    stirred(hash, u64::from_le_bytes(last))
}

fn stirred(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

fn mixed(name: u64, parts: [u64; 2]) -> u32 {
    let hash = parts.into_iter().fold(name, stirred);
    u32::try_from(stirred(hash, 0) >> 32).unwrap_or(0)
}

fn quoted(member: &[u8]) -> String {
    crate::attributes::name::shown(member)
}

#[cfg(test)]
mod tests;
