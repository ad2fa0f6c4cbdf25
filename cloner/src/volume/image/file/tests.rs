use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const PLAIN: FileOptions = FileOptions {
    mode: 0o660,
    grow_to_bytes: None,
    preallocate: false,
    keep_partial: KeepPartial::Never,
    is_exact: false,
    shares: false,
};

#[test]
fn the_file_appears_only_when_it_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).unwrap();
    file.write(0, b"data").unwrap();
    let path = directory.path().join("disk.img");
    assert!(!path.exists());
    file.seal(1 << 20, &Stop::new()).unwrap();
    file.publish().unwrap();
    let meta = path.metadata().unwrap();
    assert_eq!((meta.len(), meta.permissions().mode() & 0o7777), (1 << 20, 0o660));
    assert!(meta.blocks() * 512 < 1 << 20);
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
}

#[test]
fn an_abandoned_file_leaves_nothing_and_keeps_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk.img"), "old").unwrap();
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).unwrap();
    file.write(0, b"data").unwrap();
    drop(file);
    assert_eq!(std::fs::read(directory.path().join("disk.img")).unwrap(), b"old");
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
}

#[test]
fn leftovers_of_a_killed_attempt_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".disk.img.decant-partial"), "rubbish").unwrap();
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).unwrap();
    file.write(0, b"x").unwrap();
    file.seal(1, &Stop::new()).unwrap();
    file.publish().unwrap();
    assert_eq!(std::fs::read(directory.path().join("disk.img")).unwrap(), b"x");
}

#[test]
fn growth_and_preallocation_reach_the_last_byte() {
    let directory = tempfile::tempdir().unwrap();
    let options = FileOptions { grow_to_bytes: Some(3 << 20), preallocate: true, ..PLAIN };
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), options, &Stop::new()).unwrap();
    file.write(0, &[1; 4096]).unwrap();
    file.zero(4096, (1 << 20) - 4096, &Stop::new()).unwrap();
    file.seal(1 << 20, &Stop::new()).unwrap();
    file.publish().unwrap();
    let meta = directory.path().join("disk.img").metadata().unwrap();
    assert_eq!(meta.len(), 3 << 20);
    assert!(meta.blocks() * 512 >= 3 << 20, "{} blocks", meta.blocks());
}

#[test]
fn the_longest_file_name_works() {
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(255);
    let mut file = ImageFile::create(directory.path(), name.as_ref(), PLAIN, &Stop::new()).unwrap();
    file.seal(1, &Stop::new()).unwrap();
    file.publish().unwrap();
    assert!(directory.path().join(name).exists());
}

#[test]
fn a_second_writer_of_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).unwrap();
    let error = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).err().unwrap();
    let own = format!("process {}", std::process::id());
    for part in ["another process is writing to", "disk.img", &own] {
        assert!(error.to_string().contains(part), "{error}");
    }
    drop(first);
    assert!(ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).is_ok());
}

#[test]
fn a_writer_never_renames_the_file_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), PLAIN, &Stop::new()).unwrap();
    file.seal(1, &Stop::new()).unwrap();
    let temporary = directory.path().join(temporary_name("disk.img".as_ref()));
    std::fs::remove_file(&temporary).unwrap();
    std::fs::write(&temporary, "of another process").unwrap();
    let error = file.publish().unwrap_err();
    assert!(error.to_string().contains("has removed or replaced"), "{error}");
    drop(file);
    assert_eq!(std::fs::read(temporary).unwrap(), b"of another process");
    assert!(!directory.path().join("disk.img").exists());
}

#[test]
fn a_complete_image_has_no_description_of_its_writer() {
    // The directory for temporary files may not support attributes.
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let options = FileOptions { mode: 0o400, ..PLAIN };
    let mut file = ImageFile::create(directory.path(), "disk.img".as_ref(), options, &Stop::new()).unwrap();
    let mut value = [0; 256];
    let mut words = |name: &str| {
        let path = directory.path().join(name);
        rustix::fs::getxattr(&path, "user.decant.writer", &mut value).map(|len| value[..len].to_vec())
    };
    let told = words(".disk.img.decant-partial").unwrap();
    assert!(told.starts_with(format!("process {}", std::process::id()).as_bytes()));
    file.seal(1, &Stop::new()).unwrap();
    file.publish().unwrap();
    assert!(words("disk.img").is_err());
}
