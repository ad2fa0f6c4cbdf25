//! Decides what `cloner copy SRC DST` will do, before anything is changed.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use decant_shared::protocol::cdi::{ContentType, DISK_IMAGE, DISK_IMAGE_MODE};

use rustix::fs::OFlags;

use crate::error::{Error, Kind, Result};
use crate::volume::destination::Destination::{self, Device, Directory};
use crate::volume::layout::{MADE, REPLACED, STAGING_NAME, names_for};
use crate::volume::tree::write::staging::identity_text;

/// Longer than the content of a mark file.
const MARK_BYTES: u64 = 64;

/// A copy that was checked and is possible.
#[derive(Debug)]
pub struct CopyPlan {
    /// How the source is sent.
    pub content: ContentType,
    /// Where the copy is written.
    pub destination: Destination,
    /// The path of the copy, for messages.
    pub final_path: PathBuf,
    /// Permission bits of a new file.
    pub file_mode: u32,
    /// The metadata that the target directory gets. The directory is created first if it does not exist.
    pub new_directory: Option<Metadata>,
}

impl CopyPlan {
    /// Plans the copy of `source` to `target`. With `force`, existing content may be replaced.
    ///
    /// Errors: `Kind::Source` and `Kind::Target` say why the copy is refused.
    pub fn make(source: &Path, target: &Path, force: bool) -> Result<Self> {
        let meta = fs::metadata(source).map_err(|e| Error::source("find", source, e))?;
        let kind = meta.file_type();
        if meta.is_dir() {
            directory(source, &meta, target, force)
        } else if kind.is_file() || kind.is_block_device() {
            image(source, &meta, target, force)
        } else {
            let path = source.display();
            Err(Error::new(Kind::Source, format!("{path} is neither a file, a block device nor a directory")))
        }
    }
}

fn directory(source: &Path, meta: &Metadata, target: &Path, force: bool) -> Result<CopyPlan> {
    let plan = |destination, new_directory| CopyPlan {
        content: ContentType::Filesystem,
        destination,
        final_path: target.to_owned(),
        file_mode: DISK_IMAGE_MODE,
        new_directory,
    };
    let into = || Directory { path: target.to_owned(), image_name: DISK_IMAGE.into() };
    let Some(found) = look(target)? else {
        refuse_inside(source, target)?;
        return Ok(plan(into(), Some(meta.clone())));
    };
    if found.file_type().is_block_device() {
        // A symbolic link does not count: the archive of a directory contains only the link, whose content may be
        // anywhere.
        let image = source.join(DISK_IMAGE);
        if !fs::symlink_metadata(&image).is_ok_and(|found| found.is_file()) {
            let path = source.display();
            let what = if image.is_symlink() || image.exists() { "regular file " } else { "" };
            return Err(Error::new(
                Kind::Source,
                format!(
                    "{path} has no {what}{DISK_IMAGE} at its top: only that file can be copied onto a block device"
                ),
            ));
        }
        need_force(force, target, "is a block device: disk.img of the directory would replace its content")?;
        return Ok(plan(Device(target.to_owned()), None));
    }
    if !found.is_dir() {
        return Err(refusal(target, "is not a directory: a directory can only be copied into a directory"));
    }
    if same(meta, &found) {
        return Err(refusal(target, "is the source"));
    }
    refuse_inside(source, target)?;
    refuse_inside(target, source)?;
    match content(target)? {
        DirectoryContent::Nothing => Ok(plan(into(), None)),
        DirectoryContent::MadeByCopy => Ok(plan(into(), Some(meta.clone()))),
        DirectoryContent::Entries => {
            need_force(force, target, "is not empty: entries of the same names would be replaced")?;
            Ok(plan(into(), None))
        }
    }
}

fn image(source: &Path, meta: &Metadata, target: &Path, force: bool) -> Result<CopyPlan> {
    let plan = |destination, final_path| CopyPlan {
        content: ContentType::Block,
        destination,
        final_path,
        file_mode: if meta.is_file() { meta.mode() & 0o777 } else { DISK_IMAGE_MODE },
        new_directory: None,
    };
    let found = look(target)?;
    if let Some(found) = &found {
        if same(meta, found) {
            return Err(refusal(target, "is the source"));
        }
        if found.file_type().is_block_device() {
            need_force(force, target, "is a block device: the copy would replace its content")?;
            return Ok(plan(Device(target.to_owned()), target.to_owned()));
        }
        if found.is_dir() {
            let name = source.file_name().ok_or_else(|| refusal(source, "has no file name for the copy"))?;
            let inside = target.join(name);
            if look(&inside)?.is_some_and(|found| found.is_dir()) {
                return Err(refusal(&inside, "is a directory"));
            }
            return image(source, meta, &inside, force);
        }
        if !found.is_file() {
            return Err(refusal(target, "is neither a file, a directory nor a block device"));
        }
        need_force(force, target, "exists")?;
    }
    if target.as_os_str().as_bytes().ends_with(b"/") {
        return Err(refusal(target, if found.is_some() { "is not a directory" } else { "does not exist" }));
    }
    let name = target.file_name().ok_or_else(|| refusal(target, "is not a file name"))?;
    let directory = parent_of(target);
    if !directory.is_dir() {
        return Err(refusal(
            directory,
            if directory.exists() { "is not a directory" } else { "does not exist" },
        ));
    }
    let destination = Directory { path: directory.to_owned(), image_name: name.into() };
    Ok(plan(destination, target.to_owned()))
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(None),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(refusal(path, "is a symbolic link to nothing")),
        Err(e) => Err(Error::target("read the metadata of", path, e)),
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    if a.file_type().is_block_device() && b.file_type().is_block_device() {
        return a.rdev() == b.rdev();
    }
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// What a target directory holds.
enum DirectoryContent {
    /// Nothing, or only the remains of a killed copy, which the receiving end removes.
    Nothing,
    /// Only the remains of a killed copy that created this directory. The directory still needs its owner and mode.
    MadeByCopy,
    Entries,
}

fn content(directory: &Path) -> Result<DirectoryContent> {
    let fail = |e| Error::target("list", directory, e);
    let mut found = DirectoryContent::Nothing;
    for entry in fs::read_dir(directory).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let replaced = directory.join(&name).join(REPLACED);
        if !names_for(STAGING_NAME.as_ref()).any(|remains| remains == name) {
            if name != "lost+found" {
                return Ok(DirectoryContent::Entries);
            }
        } else if fs::read_dir(replaced).is_ok_and(|mut entries| entries.next().is_some()) {
            // The copy was killed while it replaced an entry: the moved entry may be the only copy.
            return Ok(DirectoryContent::Entries);
        } else if is_made(directory, &directory.join(name).join(MADE)) {
            found = DirectoryContent::MadeByCopy;
        }
    }
    Ok(found)
}

/// Whether the file `mark` identifies `directory` as created by a copy. A mark that was copied from another directory
/// does not count.
fn is_made(directory: &Path, mark: &Path) -> bool {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let mut words = String::new();
    let read = File::options().read(true).custom_flags(flags).open(mark);
    let read = read.and_then(|mark| mark.take(MARK_BYTES).read_to_string(&mut words));
    read.is_ok() && rustix::fs::stat(directory).is_ok_and(|found| identity_text(&found) == words)
}

/// Refuses a copy of a directory into itself: such a copy would never end.
fn refuse_inside(outer: &Path, inner: &Path) -> Result<()> {
    let existing = if inner.exists() { inner } else { parent_of(inner) };
    match (outer.canonicalize(), existing.canonicalize()) {
        (Ok(outer_path), Ok(inner_path)) if inner_path.starts_with(&outer_path) => {
            Err(refusal(inner, &format!("is inside {}", outer.display())))
        }
        (_, Err(e)) => Err(Error::target("find", existing, e)),
        _ => Ok(()),
    }
}

/// The directory that `path` is in.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn need_force(force: bool, path: &Path, why: &str) -> Result<()> {
    if force { Ok(()) } else { Err(refusal(path, &format!("{why}; use --force to allow that"))) }
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Kind::Target, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.at("file"), "content").unwrap();
            fs::create_dir_all(place.at("folder/sub")).unwrap();
            fs::create_dir(place.at("empty")).unwrap();
            place
        }
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn plan(&self, source: &str, target: &str, force: bool) -> Result<CopyPlan> {
            CopyPlan::make(&self.at(source), &self.at(target), force)
        }
        fn refused(&self, source: &str, target: &str, force: bool) -> String {
            self.plan(source, target, force).unwrap_err().to_string()
        }
    }

    #[test]
    fn what_exists_is_only_replaced_by_force() {
        let place = Place::new();
        fs::write(place.at("other"), "x").unwrap();
        assert!(place.refused("file", "other", false).ends_with("exists; use --force to allow that"));
        assert!(place.plan("file", "other", true).is_ok());
        assert!(place.refused("empty", "folder", false).contains("is not empty"));
        assert!(place.plan("empty", "folder", true).is_ok());
        assert!(place.plan("folder", "empty", false).is_ok());
    }

    #[test]
    fn a_file_goes_into_a_directory_under_its_own_name() {
        let place = Place::new();
        let plan = place.plan("file", "empty", false).unwrap();
        assert_eq!(plan.final_path, place.at("empty/file"));
    }

    #[test]
    fn copies_onto_and_into_themselves_are_refused() {
        let place = Place::new();
        assert!(place.refused("file", "file", true).ends_with("is the source"));
        assert!(place.refused("folder", "folder", true).ends_with("is the source"));
        assert!(place.refused("folder", "folder/sub/new", true).contains("is inside"));
        assert!(place.refused("folder/sub", "folder", true).contains("is inside"));
    }

    #[test]
    fn a_directory_onto_a_file_and_a_missing_parent_are_refused() {
        let place = Place::new();
        assert!(place.refused("folder", "file", true).contains("is not a directory"));
        assert!(place.refused("file", "nowhere/file", true).ends_with("nowhere does not exist"));
        assert!(place.plan("nothing", "new", false).unwrap_err().kind() == Kind::Source);
    }

    #[test]
    fn a_name_that_says_directory_and_a_link_to_nothing_are_refused_for_a_file() {
        let place = Place::new();
        std::os::unix::fs::symlink("nowhere", place.at("link")).unwrap();
        assert!(place.refused("file", "new/", true).ends_with("new/ does not exist"));
        assert!(place.refused("file", "link", true).ends_with("is a symbolic link to nothing"));
    }

    #[test]
    fn a_directory_that_a_killed_copy_made_counts_as_new_and_the_users_own_does_not() {
        let place = Place::new();
        let is_new = |name: &str| place.plan("folder", name, false).unwrap().new_directory.is_some();
        fs::create_dir_all(place.at("own").join(STAGING_NAME)).unwrap();
        assert!(!is_new("own"));
        let staging = place.at("killed").join(STAGING_NAME);
        fs::create_dir_all(&staging).unwrap();
        let open = |path: &Path| File::open(path).unwrap();
        crate::volume::tree::write::staging::mark_made(open(&staging), open(&place.at("killed"))).unwrap();
        assert!(is_new("killed"));
        // A mark that was copied from another directory does not count.
        fs::copy(staging.join(MADE), place.at("own").join(STAGING_NAME).join(MADE)).unwrap();
        assert!(!is_new("own"));
    }

    #[test]
    fn what_could_not_be_removed_is_no_content() {
        let place = Place::new();
        fs::create_dir_all(place.at("killed").join(".decant-partial.3/1/immutable")).unwrap();
        assert!(place.plan("folder", "killed", false).is_ok());
        fs::create_dir_all(place.at("killed").join(".decant-partial.3/old/only-copy")).unwrap();
        assert!(place.refused("folder", "killed", false).contains("is not empty"));
    }
}
