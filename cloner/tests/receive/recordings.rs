//! What CDI's own cloner was recorded to send.

use std::fs;
use std::path::Path;

use decant_test_support::{is_root, names};

use crate::body::{IMAGE, TREE, chunked};
use crate::dirty_device::Device;
use crate::process::{Target, TargetBuilder};

/// Sends a recording with the head that Go's client writes for CDI's cloner.
fn send(target: &Target, content: &str, recording: &str) -> u16 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(recording);
    let head = format!(
        "POST /v1beta1/upload HTTP/1.1\r\nHost: cdi-upload-x.ns.svc:8443\r\nUser-Agent: Go-http-client/1.1\r\n\
         Transfer-Encoding: chunked\r\nX-Cdi-Content-Type: {content}\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    target.request(&[head.into_bytes(), chunked(&fs::read(path).unwrap())].concat()).status
}

/// The image as CDI's clone of the device alone has it.
fn image() -> Vec<u8> {
    let target = TargetBuilder::new().ready();
    assert_eq!(send(&target, IMAGE, "block.snappy"), 200);
    fs::read(target.directory().join("disk.img")).unwrap()
}

#[test]
fn all_recordings_contain_the_same_image() {
    let image = image();
    assert!(!image.is_empty());
    for recording in ["filesystem-sparse.snappy", "filesystem-dense.snappy"] {
        let target = TargetBuilder::new().ready();
        assert_eq!(send(&target, TREE, recording), 200, "{recording}");
        assert!(fs::read(target.directory().join("disk.img")).unwrap() == image, "{recording}");
        target.ended().assert_success();
    }
}

#[test]
fn a_recorded_tree_is_unpacked_with_all_root_entries() {
    let tree = include_str!("../captures/tree.tsv");
    let mut wanted: Vec<&str> = tree
        .lines()
        .skip(1) // the volume's own directory, which has no name
        .filter_map(|line| line.split('\t').next())
        .filter(|path| !path.contains('/'))
        .collect();
    wanted.sort_unstable();
    let target = TargetBuilder::new().ready();
    assert_eq!(send(&target, TREE, "filesystem-sparse.snappy"), 200);
    assert_eq!(names(&target.directory()), wanted);
}

#[test]
fn the_image_of_a_recorded_filesystem_is_written_to_a_device() {
    if !is_root() {
        return;
    }
    let image = image();
    for recording in ["filesystem-sparse.snappy", "filesystem-dense.snappy"] {
        let device = Device::dirty(image.len().next_multiple_of(4096));
        let target = TargetBuilder::new().set("DESTINATION", device.name()).ready();
        assert_eq!(send(&target, TREE, recording), 200, "{recording}");
        assert!(device.content()[..image.len()] == image, "{recording}");
    }
}
