//! Reads back what was written and compares it (`--verify readback`). Bypasses the page cache, so that the data comes
//! from the disk.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use crate::digest::ContentDigest;
use crate::error::{Error, Kind, Result};
use crate::volume::Volume;
use crate::volume::hashing::HashingSink;
use crate::volume::raw::read_range;
use crate::volume::tree::read::plan::Options;

/// The digest of the first `content_bytes` of an image that was already synced.
pub fn image(file: &File, path: &Path, content_bytes: u64, stop: &Stop) -> Result<ContentDigest> {
    let size_bytes = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))
        .map_err(|e| Error::target("measure", path, e.into()))?;
    if size_bytes < content_bytes {
        // Without this check the missing part would read as zeros.
        let path = path.display();
        let text = format!("{path} has {size_bytes} bytes after {content_bytes} were written");
        return Err(Error::new(Kind::Target, text));
    }
    let mut hashing = HashingSink::past_cache(stop);
    read_range(file, path, 0..content_bytes, &mut hashing).map_err(|e| unreadable(path, &e))?;
    Ok(hashing.segments().finish())
}

/// The digest of an open directory that was already synced. `path` is for messages.
pub fn tree(directory: OwnedFd, path: &Path, stop: &Stop) -> Result<ContentDigest> {
    let mut hashing = HashingSink::past_cache(stop);
    let volume = Volume::of_directory(directory, path, Options::CONTENT, stop);
    let read = volume.and_then(|volume| volume.read_into(u64::MAX, &mut hashing, stop));
    read.map_err(|e| unreadable(path, &e))?;
    Ok(hashing.segments().finish())
}

/// Checks that the disk returns the content that arrived.
pub fn compare(written: ContentDigest, read: ContentDigest, path: &Path) -> Result<()> {
    if written == read {
        return Ok(());
    }
    let path = path.display();
    Err(Error::damaged(format!(
        "{path} reads back as {read}, but {written} was written: the disk has lost data"
    )))
}

/// Errors of reading mention a source. Here the target is what cannot be read.
fn unreadable(path: &Path, error: &Error) -> Error {
    let kind = match error.kind() {
        Kind::Signal(number) => Kind::Signal(number),
        _ => Kind::Target,
    };
    Error::new(kind, format!("cannot read back {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_disk_that_lost_data_is_detected() {
        let (file, stop, path) = (tempfile::tempfile().unwrap(), Stop::new(), Path::new("disk.img"));
        file.write_all_at(&[7; 100_000], 0).unwrap();
        let written = image(&file, path, 100_000, &stop).unwrap();
        assert!(compare(written, image(&file, path, 100_000, &stop).unwrap(), path).is_ok());
        file.write_all_at(&[6], 99_999).unwrap();
        let error = compare(written, image(&file, path, 100_000, &stop).unwrap(), path).unwrap_err();
        assert!(
            error.kind() == Kind::Damaged && error.to_string().contains("the disk has lost data"),
            "{error}"
        );
        file.set_len(5).unwrap();
        assert_eq!(image(&file, path, 100_000, &stop).unwrap_err().kind(), Kind::Target);
    }
}
