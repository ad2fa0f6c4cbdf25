//! The plan says what is written, for any tree.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use crate::tree::{DENSE, SPARSE, Tree, listing, tick};

/// Something to put into a tree.
#[derive(Debug, Clone)]
enum Item {
    File(usize),
    Sparse(u64, Vec<u64>),
    Directory,
    Symlink(usize),
    HardLink(prop::sample::Index),
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        (0_usize..3000).prop_map(Item::File),
        (0_u64..400_000, prop::collection::vec(0_u64..90, 0..9))
            .prop_map(|(size, parts)| Item::Sparse(size, parts)),
        Just(Item::Directory),
        (1_usize..300).prop_map(Item::Symlink),
        any::<prop::sample::Index>().prop_map(Item::HardLink),
    ]
}

fn make_tree(items: &[(String, Item)]) -> Tree {
    let tree = Tree::new();
    let mut directories = vec![String::new()];
    let mut files = Vec::new();
    let mut names = BTreeSet::new();
    for (at, (name, item)) in items.iter().enumerate() {
        let path = format!("{}{name}", directories[at % directories.len()]);
        if !names.insert(path.clone()) {
            continue;
        }
        match item {
            Item::File(len) => tree.file(&path, vec![b'x'; *len]),
            Item::Sparse(size, parts) => {
                let fits = parts.iter().map(|part| part * 4096).filter(|part| part + 4096 <= *size);
                tree.sparse(&path, *size, fits);
            }
            Item::Directory => {
                tree.directory(&path);
                directories.push(format!("{path}/"));
                continue;
            }
            Item::Symlink(len) => symlink("t".repeat(*len), tree.path(&path)).unwrap(),
            Item::HardLink(of) if !files.is_empty() => {
                fs::hard_link(tree.path(of.get::<String>(&files)), tree.path(&path)).unwrap();
            }
            Item::HardLink(_) => continue,
        }
        files.push(path);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_and_gnu_tar_match_the_archive(
        items in prop::collection::vec(("[a-c.+-]{1,3}|[x-z]{95,105}", item()), 1..40)
    ) {
        let items: Vec<_> = items.into_iter().filter(|(name, _)| name != "." && name != "..").collect();
        let tree = make_tree(&items);
        prop_assume!(fs::read_dir(tree.0.path()).unwrap().count() > 0, "GNU tar refuses no names at all");
        tree.archive(DENSE);
        let copy = Tree::extracted(&tree.same_as_gnu());
        prop_assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
    }
}

#[test]
fn the_plan_of_an_unchanged_tree_is_stable() {
    let tree = Tree::new();
    tree.directory("a/b");
    tree.file("a/b/c", "x");
    assert_eq!(tree.scan(SPARSE).unwrap(), tree.scan(SPARSE).unwrap());
    let before = tree.scan(SPARSE).unwrap();
    tick();
    tree.file("a/b/c", "y");
    assert_ne!(tree.scan(SPARSE).unwrap(), before);
}
