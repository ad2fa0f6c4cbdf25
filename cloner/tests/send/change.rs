//! A volume that is written to while it is read: the clone fails, and the target can detect that.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use decant_test_support::certificates::Pki;
use decant_test_support::disks::LoopDevice;
use decant_test_support::is_root;
use decant_test_support::noise;

use super::image::Image;
use super::process::{Outcome, Source};
use super::target::Target;

/// Runs `source`, which is set up for the URL that it is given, and does `change` when the source reads but
/// cannot have read far. Returns also whether the body had its end.
fn changed(
    configure: impl FnOnce(Source) -> Source,
    change: impl FnOnce() + Send + 'static,
) -> (Outcome, bool) {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        // The stream identifier, then the first data: the reader has begun.
        connection.chunk().unwrap();
        connection.chunk().unwrap();
        change();
        connection.body().complete
    });
    let source = configure(Source::new(&pki, &target.url));
    (source.run(), target.join())
}

fn assert_noticed((ended, complete): (Outcome, bool), path: &Path) {
    ended.assert_failed(3, &[path.to_str().unwrap(), "while it was read"]);
    assert!(!complete, "the terminating chunk was sent");
}

#[test]
fn a_file_that_shrinks_fails_the_clone() {
    let image = Image::large();
    let path = image.path();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let outcome = changed(|source| source.block(&path), move || file.set_len(40 << 20).unwrap());
    assert_noticed(outcome, &path);
}

#[test]
fn a_file_that_grows_fails_the_clone() {
    let image = Image::large();
    let path = image.path();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let outcome = changed(|source| source.block(&path), move || file.write_all(b"more").unwrap());
    assert_noticed(outcome, &path);
}

#[test]
fn a_file_written_in_place_fails_the_clone() {
    let image = Image::large();
    let path = image.path();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let outcome = changed(|source| source.block(&path), move || file.write_all(b"other").unwrap());
    assert_noticed(outcome, &path);
}

/// A directory with a large file in front of a small one.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a-large"), noise(64 << 20, 2)).unwrap();
    fs::write(directory.path().join("b-small"), "content").unwrap();
    directory
}

#[test]
fn a_file_in_a_directory_that_shrinks_fails_the_clone() {
    let directory = directory();
    let path = directory.path().join("a-large");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let change = move || file.set_len(40 << 20).unwrap();
    let (ended, complete) = changed(|source| source.filesystem(directory.path()), change);
    assert_noticed((ended, complete), &path);
}

#[test]
fn a_file_in_a_directory_that_grows_fails_the_clone() {
    let directory = directory();
    let path = directory.path().join("b-small");
    let change = {
        let path = path.clone();
        move || OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap()
    };
    let (ended, complete) = changed(|source| source.filesystem(directory.path()), change);
    ended.assert_failed(3, &[directory.path().to_str().unwrap(), "changed"]);
    assert!(!complete, "the terminating chunk was sent");
}

#[test]
fn a_file_removed_from_a_directory_fails_the_clone() {
    let directory = directory();
    let gone = directory.path().join("b-small");
    let name = gone.to_str().unwrap().to_owned();
    let change = move || fs::remove_file(gone).unwrap();
    let (ended, complete) = changed(|source| source.filesystem(directory.path()), change);
    ended.assert_failed(3, &[&name, "vanished"]);
    assert!(!complete, "the terminating chunk was sent");
}

#[test]
fn a_file_added_to_a_directory_fails_the_clone() {
    let directory = directory();
    let new = directory.path().join("c-new");
    let (ended, complete) =
        changed(|source| source.filesystem(directory.path()), move || fs::write(new, "content").unwrap());
    ended.assert_failed(3, &[directory.path().to_str().unwrap(), "names were added to or removed from"]);
    assert!(!complete, "the terminating chunk was sent");
}

#[test]
fn a_file_in_a_directory_written_in_place_fails_the_clone() {
    let directory = directory();
    let path = directory.path().join("a-large");
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let change = move || file.write_all(b"other").unwrap();
    assert_noticed(changed(|source| source.filesystem(directory.path()), change), &path);
}

#[test]
fn a_file_in_a_directory_with_a_changed_mtime_fails_the_clone() {
    let directory = directory();
    let path = directory.path().join("a-large");
    let change = {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        move || file.set_modified(std::time::UNIX_EPOCH).unwrap()
    };
    assert_noticed(changed(|source| source.filesystem(directory.path()), change), &path);
}

/// The kernel does not report writes to a device. Its clone is what was read, with the digest of that. The caller that
/// starts the clone must exclude writers, as the controller does.
#[test]
fn a_device_that_is_written_to_is_cloned_as_it_was_read() {
    if !is_root() {
        return;
    }
    let image = Image::large();
    let device = LoopDevice::on(&image.path());
    let before = fs::read(image.path()).unwrap();
    let pki = Pki::new();
    let target = Target::start(pki.server(), {
        let path = device.0.clone();
        move |server| {
            let mut connection = server.accept();
            connection.head();
            let mut wire =
                [connection.chunk().unwrap().unwrap(), connection.chunk().unwrap().unwrap()].concat();
            let mut file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(b"too late").unwrap();
            file.sync_all().unwrap();
            let mut rest = connection.body();
            wire.append(&mut rest.wire);
            rest.wire = wire;
            connection.answer(200, "");
            connection.close_notify();
            rest.content()
        }
    });
    Source::new(&pki, &target.url).block(&device.0).run().assert_done();
    assert!(target.join() == before);
}
