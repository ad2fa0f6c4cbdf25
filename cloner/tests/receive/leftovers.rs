//! Entries that a previous user of the volume left: they are never followed, never block clones forever, and a file with
//! another hard link stays unchanged.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use decant_test_support::archive::HandMade;
use decant_test_support::{is_root, names};

use crate::body::{IMAGE, TREE, head_for, upload, upload_with};
use crate::dirty_device::{DIRT, Device};
use crate::process::{Target, TargetBuilder};

const SEGMENT: usize = 64 << 20;
const STAGING: &str = ".decant-partial";
const PARTIAL: &str = ".disk.img.decant-partial";

/// The digests that a target reports as held, as lines.
fn held(target: &Target, content: &str, length: Option<usize>) -> Vec<String> {
    let length = length.map_or(String::new(), |length| format!("x-decant-length: {length}\r\n"));
    let headers = format!("x-decant-from: 0\r\nx-cdi-content-type: {content}\r\n{length}");
    let question = String::from_utf8(head_for("GET", "/v1/session", &headers)).unwrap();
    let answer = target.request(question.replace("Transfer-Encoding: chunked\r\n", "").as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
        .body
        .lines()
        .skip_while(|line| !line.is_empty())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn tree() -> Vec<u8> {
    HandMade::default().file("file", "content").end()
}

/// A directory beside the volume with a file that is large enough for a digest.
fn outside(builder: &TargetBuilder) -> std::path::PathBuf {
    let outside = builder.directory().parent().unwrap().join("outside");
    fs::create_dir_all(outside.join("new")).unwrap();
    let file = fs::File::create(outside.join("new/big")).unwrap();
    file.set_len(2 * SEGMENT as u64).unwrap();
    outside
}

#[test]
fn reading_back_does_not_follow_symlinks_out_of_the_volume() {
    let links: [fn(&Path); 4] = [
        |volume| symlink("../outside", volume.join(STAGING)).unwrap(),
        |volume| {
            fs::create_dir(volume.join(STAGING)).unwrap();
            symlink("../../outside/new", volume.join(STAGING).join("new")).unwrap();
        },
        |volume| symlink("/proc", volume.join(STAGING)).unwrap(),
        |volume| {
            fs::create_dir(volume.join(STAGING)).unwrap();
            symlink("/proc", volume.join(STAGING).join("new")).unwrap();
        },
    ];
    for link in links {
        let builder = TargetBuilder::new();
        let outside = outside(&builder);
        link(&builder.directory());
        let target = builder.ready();
        assert_eq!(held(&target, TREE, None), Vec::<String>::new());
        assert_eq!(target.request(&upload(TREE, &tree())).status, 200);
        assert_eq!(names(&target.directory()), ["file"]);
        assert_eq!(names(&outside.join("new")), ["big"]);
    }
}

#[test]
fn the_tree_of_a_previous_attempt_is_read_back() {
    let builder = TargetBuilder::new();
    let new = builder.directory().join(STAGING).join("new");
    fs::create_dir_all(&new).unwrap();
    fs::File::create(new.join("big")).unwrap().set_len(2 * SEGMENT as u64).unwrap();
    assert_eq!(held(&builder.ready(), TREE, None).len(), 2);
}

/// Creates an entry at this path that is not a leftover of Decant.
type MakeObstacle = fn(&Path);

const OBSTACLES: [(&str, MakeObstacle); 6] = [
    ("an empty folder", |path| fs::create_dir(path).unwrap()),
    ("a folder with content", |path| fs::create_dir_all(path.join("a/b/c")).unwrap()),
    ("a file", |path| fs::write(path, "rubbish").unwrap()),
    ("a symlink", |path| symlink("../outside/new/big", path).unwrap()),
    ("a pipe", |path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
];

#[test]
fn leftovers_of_any_kind_do_not_prevent_a_clone() {
    for (what, put) in OBSTACLES {
        for (name, content) in [(STAGING, TREE), (PARTIAL, IMAGE)] {
            let builder = TargetBuilder::new();
            let outside = outside(&builder);
            put(&builder.directory().join(name));
            let target = builder.ready();
            let length = (content == IMAGE).then_some(7);
            let digests = held(&target, content, length);
            assert_eq!(digests.len(), usize::from(what == "a file" && content == IMAGE), "{what}");
            let stream = if content == TREE { tree() } else { b"content".to_vec() };
            let answer = target.request(&upload(content, &stream));
            assert_eq!(answer.status, 200, "{what} as {name}: {answer:?}");
            let wanted = if content == TREE { "file" } else { "disk.img" };
            assert_eq!(names(&target.directory()), [wanted], "{what} as {name}");
            assert_eq!(fs::metadata(outside.join("new/big")).unwrap().len(), 2 * SEGMENT as u64);
            target.ended().assert_success();
        }
    }
}

#[test]
fn an_existing_disk_img_of_any_kind_does_not_prevent_a_clone() {
    for (what, put) in OBSTACLES {
        let builder = TargetBuilder::new();
        let outside = outside(&builder);
        put(&builder.directory().join("disk.img"));
        let target = builder.ready();
        let answer = target.request(&upload(IMAGE, b"content"));
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(names(&target.directory()), ["disk.img"], "{what}");
        assert_eq!(fs::read(target.directory().join("disk.img")).unwrap(), b"content", "{what}");
        assert_eq!(fs::metadata(outside.join("new/big")).unwrap().len(), 2 * SEGMENT as u64);
        target.ended().assert_success();
    }
}

#[test]
fn a_target_restarts_after_a_tree_with_a_directory_disk_img() {
    let builder = TargetBuilder::new();
    fs::create_dir_all(builder.directory().join("disk.img/old")).unwrap();
    let target = builder.ready();
    let tree = HandMade::default().directory("disk.img/").file("disk.img/file", "content").end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 200);
    assert_eq!(names(&target.directory().join("disk.img")), ["file"]);
    target.ended().assert_success();
}

#[test]
fn a_hard_linked_leftover_image_is_not_written_to() {
    let builder = TargetBuilder::new();
    let (mine, partial) = (builder.directory().join("mine"), builder.directory().join(PARTIAL));
    fs::write(&mine, "stays as it is").unwrap();
    fs::hard_link(&mine, &partial).unwrap();
    let target = builder.ready();
    assert!(held(&target, IMAGE, Some(14)).is_empty(), "it is nobody's leftover");
    let resumed = upload_with(IMAGE, "x-decant-resume: 1\r\n", b"another image!");
    assert_eq!(target.request(&resumed).status, 200);
    assert_eq!(fs::read(&mine).unwrap(), b"stays as it is");
    assert_eq!(mine.metadata().unwrap().nlink(), 1);
}

#[test]
fn a_device_named_disk_img_in_a_volume_is_not_written_to() {
    if !is_root() {
        return; // Only root can have a device.
    }
    let device = Device::dirty(1 << 20);
    let builder = TargetBuilder::new();
    symlink(device.path(), builder.directory().join("disk.img")).unwrap();
    let target = builder.ready();
    assert_eq!(target.request(&upload(IMAGE, b"content")).status, 200);
    assert!(fs::symlink_metadata(target.directory().join("disk.img")).unwrap().is_file());
    assert!(device.content() == vec![DIRT; 1 << 20]);
}

/// A tree in which a file of two segments is held, and the request that resumes it.
fn resumed_tree(builder: &TargetBuilder) -> Vec<u8> {
    let new = builder.directory().join(STAGING).join("new");
    fs::create_dir_all(&new).unwrap();
    fs::File::create(new.join("big")).unwrap().set_len(2 * SEGMENT as u64).unwrap();
    fs::set_permissions(new.join("big"), Permissions::from_mode(0o640)).unwrap();
    let tree = HandMade::default().sparse("big", 2 * SEGMENT as u64, &[(2 * SEGMENT as u64, 0)], b"").end();
    upload_with(TREE, "x-decant-resume: 1\r\n", &tree)
}

#[test]
fn hard_linked_files_of_a_leftover_tree_are_not_written_to() {
    let builder = TargetBuilder::new();
    let resume = resumed_tree(&builder);
    let mine = builder.directory().join("mine");
    fs::hard_link(builder.directory().join(STAGING).join("new/big"), &mine).unwrap();
    let target = builder.ready();
    assert_eq!(held(&target, TREE, None).len(), 2);
    let answer = target.request(&resume);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("other names outside"), "{answer:?}");
    assert!(held(&target, TREE, None).is_empty(), "the next attempt begins from zero");
    assert_eq!(target.request(&upload(TREE, &tree())).status, 200);
    assert_eq!(names(&target.directory()), ["file", "mine"]);
    assert_eq!(mine.metadata().unwrap().permissions().mode() & 0o7777, 0o640, "its mode stays");
}

/// A target whose user may read the leftovers in its volume, but neither change nor remove them.
fn foreign(builder: TargetBuilder) -> Target {
    fs::set_permissions(builder.directory(), Permissions::from_mode(0o777)).unwrap();
    builder.with_uid(65534).ready()
}

#[test]
fn a_leftover_that_cannot_be_removed_does_not_prevent_a_clone() {
    if !is_root() {
        return; // Only root can change its user.
    }
    let builder = TargetBuilder::new();
    let resume = resumed_tree(&builder);
    for (path, mode) in [("", 0o755), ("new", 0o755), ("new/big", 0o644)] {
        let path = builder.directory().join(STAGING).join(path);
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let target = foreign(builder);
    assert_eq!(held(&target, TREE, None).len(), 2);
    let answer = target.request(&resume);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(held(&target, TREE, None).is_empty());
    let answer = target.request(&upload(TREE, &tree()));
    assert_eq!(answer.status, 200, "{answer:?}");
    target.line("cannot remove the leftover");
    assert_eq!(names(&target.directory()), [STAGING, "file"], "it stays, and nothing else");
}

#[test]
fn a_read_only_leftover_image_is_replaced_after_a_retry() {
    if !is_root() {
        return; // Only root can change its user.
    }
    let builder = TargetBuilder::new();
    let partial = builder.directory().join(PARTIAL);
    fs::write(&partial, "content").unwrap();
    chown(&partial, Some(0), Some(0)).unwrap();
    fs::set_permissions(&partial, Permissions::from_mode(0o644)).unwrap();
    let target = foreign(builder);
    assert_eq!(held(&target, IMAGE, Some(7)).len(), 1);
    let answer = target.request(&upload_with(IMAGE, "x-decant-resume: 1\r\n", b"content"));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(held(&target, IMAGE, Some(7)).is_empty(), "the next attempt begins from zero");
    assert_eq!(target.request(&upload(IMAGE, b"content")).status, 200);
    assert_eq!(names(&target.directory()), ["disk.img"]);
}
