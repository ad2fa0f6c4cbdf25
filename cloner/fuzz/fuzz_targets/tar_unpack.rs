//! Unpacking an archive: whatever it holds, nothing beside the target directory changes, and after an error the
//! directory itself is as before.
#![no_main]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use decant_cloner::volume::tree::write::UnpackOptions;
use decant_cloner::volume::tree::write::unpack_tree;
use decant_cloner_fuzz::with_checksums;
use decant_shared::process::stop::Stop;
use libfuzzer_sys::fuzz_target;
use tempfile::{Builder, TempDir};

fuzz_target!(|bytes: &[u8]| {
    let sandbox = sandbox().expect("a sandbox");
    let target = sandbox.path().join("target");
    let directory = File::open(&target).expect("the target");
    // The target's own metadata may change with a success, its neighbours' never.
    let (beside, inside) = (describe(sandbox.path(), "target"), describe(&target, ""));
    for archive in [bytes, &with_checksums(bytes)] {
        let result = unpack_tree(&mut &*archive, &directory, &target, UnpackOptions::default(), &Stop::new());
        assert_eq!(describe(sandbox.path(), "target"), beside);
        if result.is_ok() {
            break;
        }
        assert_eq!(describe(&target, ""), inside);
    }
});

/// In memory: a run makes thousands of them. In it a target with leftovers, and what must not be touched.
fn sandbox() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let sandbox = Builder::new().prefix("decant-fuzz-").tempdir_in(parent)?;
    let at = |name: &str| sandbox.path().join(name);
    fs::create_dir_all(at("outside/folder"))?;
    fs::write(at("outside/file"), "stays")?;
    fs::create_dir_all(at("target/old"))?;
    fs::write(at("target/file"), "was here")?;
    symlink("../outside", at("target/link"))?;
    symlink("../outside/file", at("target/old/link"))?;
    Ok(sandbox)
}

/// Name, inode, mode, owner, size and change time (which shows every write) of all that lies below.
type EntryState = (PathBuf, u64, u32, u32, u64, i64, i64);

/// Everything below `root` but the content of the directory `except`. Directories that the unpacker works in change
/// their times, so those count for all else only.
fn describe(root: &Path, except: &str) -> Vec<EntryState> {
    let (mut found, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("an entry that stays");
            if path == root.join(except) {
                continue;
            }
            found.push((
                path.clone(),
                meta.ino(),
                meta.mode(),
                meta.uid(),
                meta.size(),
                meta.ctime(),
                meta.ctime_nsec(),
            ));
            if meta.is_dir() {
                directories.push(path);
            }
        }
    }
    found.sort();
    found
}
