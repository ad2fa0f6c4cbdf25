use super::*;
use std::fs::{self, File};

fn order(root: &Path, names_bytes: usize) -> Vec<String> {
    let fd = OwnedFd::from(File::open(root).unwrap());
    let mut order = Vec::new();
    let budget = WalkBudget { names_bytes, opens_ahead: true };
    walk(&fd, root, budget, &Stop::new(), &mut |found, _| {
        order.push(String::from_utf8(found.member.to_vec()).unwrap());
        assert_eq!(found.path(), root.join(order.last().unwrap()));
        let looked = found.lstat(false)?;
        Ok(looked.fd.map(|fd| WalkDirectory { fd, meta: looked.meta }))
    })
    .unwrap();
    order
}

#[test]
fn the_order_does_not_depend_on_memory_or_depth() {
    let root = tempfile::tempdir().unwrap();
    let mut directory = root.path().to_owned();
    for depth in 0..3 * OPEN_DIRECTORIES {
        for name in ["a", "b", "c.d", "y", "z"] {
            File::create(directory.join(format!("{name}{depth}"))).unwrap();
        }
        fs::create_dir(directory.join("c-side")).unwrap();
        File::create(directory.join("c-side/x")).unwrap();
        directory.push("c");
        fs::create_dir(&directory).unwrap();
    }
    let order_of_all = order(root.path(), NAMES_BUDGET_BYTES);
    assert_eq!(order_of_all.len(), 3 * OPEN_DIRECTORIES * 8);
    assert_eq!(order_of_all[..4], ["a0", "b0", "c", "c/a1"]);
    assert_eq!(order_of_all[order_of_all.len() - 5..], ["c-side", "c-side/x", "c.d0", "y0", "z0"]);
    for budget_bytes in [0, 60, 100] {
        assert!(order(root.path(), budget_bytes) == order_of_all, "with {budget_bytes} bytes");
    }
}

#[test]
fn the_names_of_members_do_not_contain_the_root() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("a")).unwrap();
    let fd = OwnedFd::from(File::open(root.path()).unwrap());
    for name in [".", "/", ""] {
        let visit = &mut |found: &Found<'_>, _: Option<OpenedEntry>| {
            assert_eq!(found.member, b"a");
            Ok(None)
        };
        walk(&fd, Path::new(name), WalkBudget { names_bytes: 100, opens_ahead: false }, &Stop::new(), visit)
            .unwrap();
    }
}
