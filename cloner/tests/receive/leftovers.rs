//! What somebody who had the volume before may have left in it: it is never followed, never in the way for ever, and what
//! has another name stays as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use decant_test_support::archive::HandMade;
use decant_test_support::{is_root, names};

use crate::body::{IMAGE, TREE, head_for, upload, upload_with};
use crate::dirty_device::{DIRT, Device};
use crate::process::{Plan, Target};

const SEGMENT: usize = 64 << 20;
const STAGING: &str = ".decant-partial";
const PARTIAL: &str = ".disk.img.decant-partial";

/// The digests that a target says it holds, as lines.
fn held(target: &Target, content: &str, length: Option<usize>) -> Vec<String> {
    let length = length.map_or(String::new(), |length| format!("x-decant-length: {length}\r\n"));
    let headers = format!("x-decant-from: 0\r\nx-cdi-content-type: {content}\r\n{length}");
    let question = String::from_utf8(head_for("GET", "/v1/session", &headers)).unwrap();
    let answer = target.ask(question.replace("Transfer-Encoding: chunked\r\n", "").as_bytes());
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

/// A folder beside the volume with a file that is large enough for a digest.
fn outside(plan: &Plan) -> std::path::PathBuf {
    let outside = plan.folder().parent().unwrap().join("outside");
    fs::create_dir_all(outside.join("new")).unwrap();
    let file = fs::File::create(outside.join("new/big")).unwrap();
    file.set_len(2 * SEGMENT as u64).unwrap();
    outside
}

#[test]
fn reading_back_does_not_follow_a_symlink_out_of_the_volume() {
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
        let plan = Plan::new();
        let outside = outside(&plan);
        link(&plan.folder());
        let target = plan.ready();
        assert_eq!(held(&target, TREE, None), Vec::<String>::new());
        assert_eq!(target.ask(&upload(TREE, &tree())).status, 200);
        assert_eq!(names(&target.folder()), ["file"]);
        assert_eq!(names(&outside.join("new")), ["big"]);
    }
}

#[test]
fn a_tree_that_an_attempt_left_is_still_read_back() {
    let plan = Plan::new();
    let new = plan.folder().join(STAGING).join("new");
    fs::create_dir_all(&new).unwrap();
    fs::File::create(new.join("big")).unwrap().set_len(2 * SEGMENT as u64).unwrap();
    assert_eq!(held(&plan.ready(), TREE, None).len(), 2);
}

/// Puts something at this path that is no file of ours.
type Put = fn(&Path);

const OBSTACLES: [(&str, Put); 6] = [
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
fn leftovers_of_any_kind_do_not_stop_a_clone() {
    for (what, put) in OBSTACLES {
        for (name, content) in [(STAGING, TREE), (PARTIAL, IMAGE)] {
            let plan = Plan::new();
            let outside = outside(&plan);
            put(&plan.folder().join(name));
            let target = plan.ready();
            let length = (content == IMAGE).then_some(7);
            let digests = held(&target, content, length);
            assert_eq!(digests.len(), usize::from(what == "a file" && content == IMAGE), "{what}");
            let stream = if content == TREE { tree() } else { b"content".to_vec() };
            let answer = target.ask(&upload(content, &stream));
            assert_eq!(answer.status, 200, "{what} as {name}: {answer:?}");
            let wanted = if content == TREE { "file" } else { "disk.img" };
            assert_eq!(names(&target.folder()), [wanted], "{what} as {name}");
            assert_eq!(fs::metadata(outside.join("new/big")).unwrap().len(), 2 * SEGMENT as u64);
            target.ended().well();
        }
    }
}

#[test]
fn a_volume_with_anything_called_disk_img_takes_a_clone() {
    for (what, put) in OBSTACLES {
        let plan = Plan::new();
        let outside = outside(&plan);
        put(&plan.folder().join("disk.img"));
        let target = plan.ready();
        let answer = target.ask(&upload(IMAGE, b"content"));
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(names(&target.folder()), ["disk.img"], "{what}");
        assert_eq!(fs::read(target.folder().join("disk.img")).unwrap(), b"content", "{what}");
        assert_eq!(fs::metadata(outside.join("new/big")).unwrap().len(), 2 * SEGMENT as u64);
        target.ended().well();
    }
}

#[test]
fn a_target_starts_again_after_a_tree_with_a_folder_disk_img() {
    let plan = Plan::new();
    fs::create_dir_all(plan.folder().join("disk.img/old")).unwrap();
    let target = plan.ready();
    let tree = HandMade::default().folder("disk.img/").file("disk.img/file", "content").end();
    assert_eq!(target.ask(&upload(TREE, &tree)).status, 200);
    assert_eq!(names(&target.folder().join("disk.img")), ["file"]);
    target.ended().well();
}

#[test]
fn a_leftover_image_with_another_name_is_not_written_into() {
    let plan = Plan::new();
    let (mine, partial) = (plan.folder().join("mine"), plan.folder().join(PARTIAL));
    fs::write(&mine, "stays as it is").unwrap();
    fs::hard_link(&mine, &partial).unwrap();
    let target = plan.ready();
    assert!(held(&target, IMAGE, Some(14)).is_empty(), "it is nobody's leftover");
    let resumed = upload_with(IMAGE, "x-decant-resume: 1\r\n", b"another image!");
    assert_eq!(target.ask(&resumed).status, 200);
    assert_eq!(fs::read(&mine).unwrap(), b"stays as it is");
    assert_eq!(mine.metadata().unwrap().nlink(), 1);
}

#[test]
fn a_device_called_disk_img_in_a_volume_is_not_written_to() {
    if !is_root() {
        return; // Only root can have a device.
    }
    let device = Device::dirty(1 << 20);
    let plan = Plan::new();
    symlink(device.path(), plan.folder().join("disk.img")).unwrap();
    let target = plan.ready();
    assert_eq!(target.ask(&upload(IMAGE, b"content")).status, 200);
    assert!(fs::symlink_metadata(target.folder().join("disk.img")).unwrap().is_file());
    assert!(device.content() == vec![DIRT; 1 << 20]);
}

/// A tree in which a file of two segments is held, and the request that resumes it.
fn resumed_tree(plan: &Plan) -> Vec<u8> {
    let new = plan.folder().join(STAGING).join("new");
    fs::create_dir_all(&new).unwrap();
    fs::File::create(new.join("big")).unwrap().set_len(2 * SEGMENT as u64).unwrap();
    fs::set_permissions(new.join("big"), Permissions::from_mode(0o640)).unwrap();
    let tree = HandMade::default().sparse("big", 2 * SEGMENT as u64, &[(2 * SEGMENT as u64, 0)], b"").end();
    upload_with(TREE, "x-decant-resume: 1\r\n", &tree)
}

#[test]
fn a_leftover_tree_whose_files_have_other_names_is_not_written_into() {
    let plan = Plan::new();
    let resume = resumed_tree(&plan);
    let mine = plan.folder().join("mine");
    fs::hard_link(plan.folder().join(STAGING).join("new/big"), &mine).unwrap();
    let target = plan.ready();
    assert_eq!(held(&target, TREE, None).len(), 2);
    let answer = target.ask(&resume);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("other names outside"), "{answer:?}");
    assert!(held(&target, TREE, None).is_empty(), "the next attempt begins from zero");
    assert_eq!(target.ask(&upload(TREE, &tree())).status, 200);
    assert_eq!(names(&target.folder()), ["file", "mine"]);
    assert_eq!(mine.metadata().unwrap().permissions().mode() & 0o7777, 0o640, "its mode stays");
}

/// A target of another user than the one who left what is in its volume: he may read that, and neither change nor remove it.
fn foreign(plan: Plan) -> Target {
    fs::set_permissions(plan.folder(), Permissions::from_mode(0o777)).unwrap();
    plan.run_by(65534).ready()
}

#[test]
fn clones_continue_beside_a_leftover_that_cannot_be_removed() {
    if !is_root() {
        return; // Only root can become somebody else.
    }
    let plan = Plan::new();
    let resume = resumed_tree(&plan);
    for (path, mode) in [("", 0o755), ("new", 0o755), ("new/big", 0o644)] {
        let path = plan.folder().join(STAGING).join(path);
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let target = foreign(plan);
    assert_eq!(held(&target, TREE, None).len(), 2);
    let answer = target.ask(&resume);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(held(&target, TREE, None).is_empty());
    let answer = target.ask(&upload(TREE, &tree()));
    assert_eq!(answer.status, 200, "{answer:?}");
    target.line("cannot remove the leftover");
    assert_eq!(names(&target.folder()), [STAGING, "file"], "it stays, and nothing else");
}

#[test]
fn a_leftover_image_that_can_be_read_and_not_written_is_begun_again() {
    if !is_root() {
        return; // Only root can become somebody else.
    }
    let plan = Plan::new();
    let partial = plan.folder().join(PARTIAL);
    fs::write(&partial, "content").unwrap();
    chown(&partial, Some(0), Some(0)).unwrap();
    fs::set_permissions(&partial, Permissions::from_mode(0o644)).unwrap();
    let target = foreign(plan);
    assert_eq!(held(&target, IMAGE, Some(7)).len(), 1);
    let answer = target.ask(&upload_with(IMAGE, "x-decant-resume: 1\r\n", b"content"));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(held(&target, IMAGE, Some(7)).is_empty(), "the next attempt begins from zero");
    assert_eq!(target.ask(&upload(IMAGE, b"content")).status, 200);
    assert_eq!(names(&target.folder()), ["disk.img"]);
}
