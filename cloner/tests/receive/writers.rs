//! Two targets on one volume: the second one refuses its sender and names the first.

use std::fs;

use decant_test_support::archive::HandMade;
use decant_test_support::disks::Mounted;
use decant_test_support::{is_root, names, until};

use crate::body::{IMAGE, TREE, chunk, frames, head, upload};
use crate::process::TargetBuilder;

#[test]
fn a_second_target_on_a_volume_refuses_and_the_first_one_completes() {
    let (first_tree, second_tree) =
        (HandMade::default().file("first", "1").end(), HandMade::default().file("second", "2").end());
    for (content, stream, wanted) in [(TREE, first_tree.as_slice(), "first"), (IMAGE, b"image", "disk.img")] {
        let volume = tempfile::tempdir().unwrap();
        let image = volume.path().join("disk.img");
        let on_it = || TargetBuilder::new().set("DESTINATION", image.to_str().unwrap()).ready();
        let (first, second) = (on_it(), on_it());
        let mut sender = first.sender();
        let begun = [head(content, ""), chunk(&frames(stream))].concat();
        sender.send(&begun).unwrap();
        until("the first target writes", || {
            names(volume.path()).iter().any(|name| name.ends_with("partial"))
        });
        for (content, stream) in [(TREE, second_tree.as_slice()), (IMAGE, b"other")] {
            let answer = second.request(&upload(content, stream));
            assert_eq!(answer.status, 500, "{answer:?}");
            assert!(answer.body.contains("another process is writing to"), "{answer:?}");
            assert!(answer.body.contains("cloner"), "{answer:?}");
        }
        sender.send(b"0\r\n\r\n").unwrap();
        assert_eq!(sender.answer().status, 200);
        assert_eq!(names(volume.path()), [wanted]);
        first.ended().assert_success();
        // It has gone with its process.
        let answer = second.request(&upload(TREE, &second_tree));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn a_volume_without_free_inodes_is_reported_as_full() {
    if !is_root() {
        return;
    }
    let mounted = Mounted::tmpfs("size=4m,nr_inodes=20").unwrap();
    fs::create_dir(mounted.path().join("data")).unwrap();
    let many = (0..50).fold(HandMade::default(), |archive, at| archive.file(&format!("f{at}"), "x"));
    let image = mounted.path().join("data/disk.img");
    let target = TargetBuilder::new().set("DESTINATION", image.to_str().unwrap()).ready();
    let answer = target.request(&upload(TREE, &many.end()));
    assert_eq!(answer.status, 400, "{answer:?}");
    for part in ["larger than the reported available storage", "no inodes left (of 20"] {
        assert!(answer.body.contains(part), "{answer:?}");
    }
}
