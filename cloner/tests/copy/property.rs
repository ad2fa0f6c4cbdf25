//! Any small tree arrives as it was.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use decant_test_support::trees::{assert_same, describe};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::command::{Scratch, copy};

#[derive(Debug, Clone)]
enum Node {
    /// A size, and where in it there is data.
    File {
        size_bytes: u64,
        islands: Vec<(u64, Vec<u8>)>,
        mode: u32,
    },
    Link(String),
    Directory {
        entries: BTreeMap<String, Node>,
        mode: u32,
    },
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,3}",
        1 => "[ -.0-~]{1,12}",
        1 => "[a-z]{90,200}",
        1 => "\\PC{1,20}".prop_map(|name| name.replace('/', "_")),
    ]
    .prop_filter("a name that a folder can hold", |name| {
        !matches!(name.as_str(), "." | "..") && name.len() < 256
    })
    .prop_filter("a name that stays behind", |name| {
        !matches!(name.as_str(), "lost+found" | ".decant-partial")
    })
}

fn file() -> impl Strategy<Value = Node> {
    let island = (0_u64..400_000, vec(any::<u8>(), 0..5000));
    (0_u64..400_000, vec(island, 0..4), 0_u32..0o1000).prop_map(|(size_bytes, islands, mode)| Node::File {
        size_bytes,
        islands,
        mode,
    })
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![3 => file(), 1 => "[a-z./]{1,150}".prop_map(Node::Link)];
    leaf.prop_recursive(4, 24, 6, |inner| {
        (btree_map(name(), inner, 0..6), 0_u32..0o1000)
            .prop_map(|(entries, mode)| Node::Directory { entries, mode })
    })
}

fn make(path: &Path, node: &Node) {
    match node {
        Node::File { size_bytes, islands, mode } => {
            let file = File::create(path).unwrap();
            file.set_len(*size_bytes).unwrap();
            for (offset, bytes) in islands {
                file.write_all_at(bytes, *offset).unwrap();
            }
            // The user who runs the test must be able to read it.
            fs::set_permissions(path, Permissions::from_mode(mode | 0o400)).unwrap();
        }
        Node::Link(target) => symlink(target, path).unwrap(),
        Node::Directory { entries, mode } => {
            fs::create_dir(path).unwrap();
            for (name, entry) in entries {
                make(&path.join(name), entry);
            }
            fs::set_permissions(path, Permissions::from_mode(mode | 0o700)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_small_tree_is_copied_exactly(entries in btree_map(name(), node(), 0..6)) {
        let scratch = Scratch::new();
        let (source, target) = (scratch.at("a"), scratch.at("b"));
        make(&source, &Node::Directory { entries, mode: 0o755 });
        copy(&[&source, &target]).assert_done();
        assert_same(&describe(&source, true), &describe(&target, true), "copied");
    }

    #[test]
    fn any_file_with_holes_is_copied_exactly(file in file()) {
        let scratch = Scratch::new();
        let (source, target) = (scratch.at("a"), scratch.at("b"));
        make(&source, &file);
        copy(&[&source, &target]).assert_done();
        prop_assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap());
    }
}
