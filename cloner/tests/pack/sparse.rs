//! Files with holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use decant_cloner::error::Result;
use decant_cloner::stream::{Purpose, Run, Sink};

use crate::tree::{DENSE, SPARSE, Tree, listing};

const MIB: u64 = 1 << 20;

#[test]
fn holes_are_stored_as_by_gnu_tar() {
    let tree = Tree::new();
    tree.sparse("all hole", 3 * MIB, []);
    tree.sparse("below a block", 100, []);
    tree.sparse("a block and a byte", 513, []);
    tree.sparse("a page of data and a byte of hole", 4097, [0]);
    tree.sparse("data first", 3 * MIB + 5, [0]);
    tree.sparse("data last", 3 * MIB, [3 * MIB - 4096]);
    tree.sparse("data in the last block", 3 * MIB + 77, [MIB]);
    tree.file("no hole", vec![1; 1 << 20]);
    tail(&tree, "short tail", 2 * MIB, b"tail");
    for extents in [1, 3, 4, 5, 24, 25, 26, 45, 46, 47] {
        tree.sparse(&format!("{extents} extents"), 64 * MIB, (0..extents).map(|i| (i + 1) * MIB));
    }
    tree.directory("l".repeat(120));
    tree.sparse(&format!("{}/hole", "l".repeat(120)), MIB, [0]);
    let copy = Tree::extracted(&tree.same_as_gnu());
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
    for entry in fs::read_dir(tree.0.path()).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            let (before, after) = (entry.path(), copy.path(entry.file_name()));
            assert!(fs::read(&before).unwrap() == fs::read(&after).unwrap(), "{before:?} differs");
            // A file below a block of tar is stored in full: there is nothing to save.
            assert!(blocks(&after) <= blocks(&before).max(8), "{after:?} lost its holes");
        }
    }
}

#[test]
fn preallocation_stores_all_bytes_and_disk_img_keeps_its_type() {
    let tree = Tree::new();
    tree.sparse("disk.img", MIB, [0]);
    tree.sparse("other", MIB, [0]);
    let stream = tree.archive(DENSE);
    let (disk, other) = (&stream[..512], &stream[512 + (1 << 20)..][..512]);
    assert_eq!((disk[156], other[156]), (b'S', b'0'));
    assert_eq!(&disk[386..410], b"00000000000\x0000004000000\0");
    assert_eq!(disk[410], 0);
    let copy = Tree::extracted(&stream);
    assert_eq!(fs::read(copy.path("disk.img")).unwrap(), fs::read(tree.path("disk.img")).unwrap());
}

#[test]
fn disk_img_at_the_root_is_sparse_even_without_holes_or_content() {
    let tree = Tree::new();
    tree.file("disk.img", vec![1; 3 * 4096 + 1]);
    tree.directory("sub");
    tree.file("sub/disk.img", "x");
    let stream = tree.archive(SPARSE);
    assert_eq!(stream[156], b'S');
    let copy = Tree::extracted(&stream);
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
    assert_eq!(fs::read(copy.path("disk.img")).unwrap(), fs::read(tree.path("disk.img")).unwrap());
    assert_eq!(flag_of(&stream, "sub/disk.img"), b'0');

    tree.file("disk.img", "");
    let stream = tree.archive(SPARSE);
    assert_eq!(stream[156], b'S');
    assert_eq!(fs::metadata(Tree::extracted(&stream).path("disk.img")).unwrap().len(), 0);
}

#[test]
fn disk_img_is_never_a_link_to_another_name() {
    let tree = Tree::new();
    tree.file("a", "content");
    fs::hard_link(tree.path("a"), tree.path("disk.img")).unwrap();
    fs::hard_link(tree.path("a"), tree.path("z")).unwrap();
    let stream = tree.archive(SPARSE);
    let flags = ["a", "disk.img", "z"].map(|name| flag_of(&stream, name));
    assert_eq!(flags, *b"0S1");
    assert_eq!(fs::read(Tree::extracted(&stream).path("disk.img")).unwrap(), b"content");
}

#[test]
fn preallocated_space_in_disk_img_is_not_read() {
    let tree = Tree::new();
    let file = File::create(tree.path("disk.img")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 16 * MIB).unwrap();
    file.write_all_at(&[1; 4096], 8 * MIB).unwrap();
    file.sync_all().unwrap();
    let stream = tree.archive(SPARSE);
    assert!(stream.len() < 1 << 20, "{} bytes", stream.len());
    let copy = Tree::extracted(&stream);
    assert_eq!(fs::read(copy.path("disk.img")).unwrap(), fs::read(tree.path("disk.img")).unwrap());
}

#[test]
fn sizes_beyond_8_gib_are_kept() {
    let tree = Tree::new();
    tree.sparse("5 GiB", 5 << 30, [0, 3 << 30, 4 << 30]);
    tail(&tree, "9 GiB", (9 << 30) - 1, b"!");
    tail(&tree, "disk.img", (9 << 30) - 1, b"!");
    let stream = tree.same_as_gnu();
    let copy = Tree::extracted(&stream);
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
    let mut last = [0];
    File::open(copy.path("9 GiB")).unwrap().read_exact_at(&mut last, (9 << 30) - 1).unwrap();
    assert_eq!(&last, b"!");
}

/// The plan of a huge dense file is right and its header is base-256, without writing its bytes anywhere.
#[test]
fn the_size_of_a_dense_file_beyond_8_gib_is_base_256() {
    let tree = Tree::new();
    tree.sparse("huge", (9 << 30) + 1, []);
    let plan = tree.scan(DENSE).unwrap();
    let mut sink = Measured::default();
    assert_eq!(tree.write(DENSE, &plan, &mut sink).unwrap().stream_bytes, plan.stream_bytes);
    assert_eq!(sink.bytes, plan.stream_bytes);
    assert_eq!(sink.head[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0x40, 0, 0, 1]);
    assert_eq!(plan.stream_bytes, (512 + (9_u64 << 30) + 512 + 1024).next_multiple_of(10_240));
}

#[test]
fn the_content_is_right_beyond_the_extent_limit() {
    let tree = Tree::in_memory();
    let file = File::create(tree.path("many")).unwrap();
    let parts = 70_000_u64;
    file.set_len(parts * 8192 + 1).unwrap();
    for part in 0..parts {
        file.write_all_at(&part.to_le_bytes(), part * 8192).unwrap();
    }
    let stream = tree.archive(SPARSE);
    let copy = Tree::extracted(&stream);
    assert!(same_content(&copy.path("many"), &tree.path("many")));
    assert_eq!(flag_of(&stream, "many"), b'S');
}

#[derive(Default)]
struct Measured {
    head: Vec<u8>,
    bytes: u64,
}

impl Sink for Measured {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        if purpose != Purpose::Digest {
            self.bytes += run.len();
            if let Run::Bytes(bytes) = run {
                self.head.extend_from_slice(bytes);
            }
        }
        Ok(())
    }
}

fn tail(tree: &Tree, name: &str, offset: u64, content: &[u8]) {
    let file = File::create(tree.path(name)).unwrap();
    file.write_all_at(content, offset).unwrap();
    file.sync_all().unwrap();
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks()
}

/// The type flag of the member `name`, which must be short and unlike any content.
fn flag_of(stream: &[u8], name: &str) -> u8 {
    let is_header =
        |block: &&[u8]| block[257..265] == *b"ustar  \0" && block[..100].starts_with(name.as_bytes());
    let is_whole = |block: &&[u8]| block[name.len()] == 0;
    stream.chunks_exact(512).find(|block| is_header(block) && is_whole(block)).unwrap()[156]
}

fn same_content(a: &Path, b: &Path) -> bool {
    std::process::Command::new("cmp").arg(a).arg(b).status().unwrap().success()
}
