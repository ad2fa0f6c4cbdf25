use super::*;

fn meta(file_type: FileType, size_bytes: u64) -> Meta {
    let uid = 0;
    let gid = 0;
    let mode = 0o644;
    let allocated_blocks = 8;
    let mtime_seconds = 1000;
    let mtime_nanoseconds = 1;
    let ctime = (2000, 2);
    let device = 1;
    let inode = 7;
    let links = 1;
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

fn file() -> Meta {
    meta(FileType::RegularFile, 5)
}

type Entries = Vec<(String, Meta)>;

fn tree(count: u64) -> Entries {
    (0..count).map(|index| (format!("{index:06}"), file())).collect()
}

fn outline(entries: &[(String, Meta)]) -> Outline {
    let mut census = Census::new(None);
    entries.iter().for_each(|(name, meta)| census.add(name.as_bytes(), meta).unwrap());
    census.finish().unwrap()
}

/// The difference that the second pass finds in a tree that changed after the first pass.
fn said(before: &[(String, Meta)], after: &[(String, Meta)]) -> Option<String> {
    let outline = outline(before);
    let mut census = Census::new(Some(&outline));
    let added = after.iter().try_for_each(|(name, meta)| census.add(name.as_bytes(), meta));
    added.and_then(|()| census.finish().map(drop)).err().map(|difference| difference.0)
}

#[test]
fn a_change_is_described_with_its_path() {
    let before = tree(9);
    let after = |change: &dyn Fn(&mut Entries)| {
        let mut after = before.clone();
        change(&mut after);
        said(&before, &after)
    };
    let one = |change: &dyn Fn(&mut Meta)| after(&|tree| change(&mut tree[4].1));
    assert_eq!(one(&|_| {}), None);
    assert_eq!(one(&|meta| meta.size_bytes = 6).unwrap(), r#"the size of "000004" changed"#);
    assert_eq!(one(&|meta| meta.mtime_nanoseconds = 2).unwrap(), r#""000004" was written to"#);
    let kind = one(&|meta| meta.file_type = FileType::Symlink).unwrap();
    assert_eq!(kind, r#"the type of "000004" changed"#);
    let replaced = one(&|meta| (meta.inode, meta.ctime) = (8, (3000, 0))).unwrap();
    assert_eq!(replaced, r#""000004" was replaced"#);
    let added = after(&|tree| tree.insert(4, ("000003a".to_owned(), file()))).unwrap();
    assert_eq!(added, r#""000003a" was added or renamed"#);
    let at_the_end = after(&|tree| tree.push(("z".to_owned(), file()))).unwrap();
    assert_eq!(at_the_end, r#""z" was added"#);
    let removed = after(&|tree| drop(tree.remove(4))).unwrap();
    assert_eq!(removed, r#"an entry after "000003" and before "000005" was removed"#);
    let first = after(&|tree| drop(tree.remove(0))).unwrap();
    assert_eq!(first, r#"an entry before "000001" was removed"#);
    let rest = after(&|tree| tree.truncate(7)).unwrap();
    assert_eq!(rest, r#"2 of its entries after "000006" were removed"#);
    assert_eq!(after(&|tree| tree.clear()).unwrap(), "all 9 entries were removed");
}

#[test]
fn made_up_numbers_and_times_are_no_change() {
    let mut before = tree(9);
    before[3].1 = meta(FileType::Directory, 4096);
    before[5].1 = meta(FileType::Fifo, 0);
    let mut after = before.clone();
    for (index, (_, meta)) in after.iter_mut().enumerate() {
        meta.inode = 1000 + index as u64;
        meta.device = 9;
    }
    (after[3].1.size_bytes, after[3].1.mtime_seconds, after[3].1.ctime) = (0, 9999, (9999, 0));
    after[5].1.mtime_seconds = 9999;
    assert_eq!(said(&before, &after), None);
}

#[test]
fn changed_attributes_are_no_change_of_the_content() {
    let before = tree(3);
    let mut after = before.clone();
    (after[1].1.mode, after[1].1.uid, after[1].1.ctime) = (0o600, 7, (3000, 0));
    assert_eq!(said(&before, &after), None);
}

#[test]
fn every_change_is_found_in_bounded_memory() {
    let before = tree(100_000);
    let planned = outline(&before);
    assert!(planned.slots.len() < SLOTS_LIMIT && planned.slots.capacity() <= SLOTS_LIMIT);
    assert_eq!((planned.entries(), planned.per_slot), (100_000, 8));
    for index in [0, 1, 50_003, 99_999] {
        let mut after = before.clone();
        after[index].1.size_bytes = 6;
        let end = index - index % 8 + 7;
        let wanted = format!("the size of one of the 8 entries up to \"{end:06}\" changed");
        assert_eq!(said(&before, &after), Some(wanted), "{index}");
    }
    let mut swapped = before.clone();
    (swapped[8].1.size_bytes, swapped[9].1.size_bytes) = (1, 2);
    let mut back = swapped.clone();
    (back[8].1.size_bytes, back[9].1.size_bytes) = (2, 1);
    assert!(said(&swapped, &back).is_some(), "two changes that cancel each other");
}

#[test]
fn similar_names_have_different_hashes() {
    let names = ["", "a", "b", "ab", "ba", "12345678", "12345679", "123456780", "12345678\0", "\0"];
    let hashes: std::collections::BTreeSet<u64> = names.iter().map(|name| hash_of(name.as_bytes())).collect();
    assert_eq!(hashes.len(), names.len());
    let many: std::collections::BTreeSet<u32> =
        (0..100_000).map(|index| mixed(hash_of(format!("{index:06}").as_bytes()), [index, 0])).collect();
    assert!(many.len() > 99_990, "{}", many.len());
}
