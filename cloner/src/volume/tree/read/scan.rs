//! Finding out beforehand how long the archive of a directory becomes.

use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use crate::error::Result;
use crate::volume::tree::read::pass::{Pass, ended};
use crate::volume::tree::read::plan::{ArchivePlan, Options};
use crate::volume::tree::read::xattr_thread::Measured;

/// Looks at everything in the directory `root`, whose path for messages is `root_path`, and computes what
/// [`write`](crate::volume::tree::read::write_archive::write_archive) is going to do with it, with attributes (if `options` asks for them) and without.
/// No content is read; files are opened to ask for their attributes, and where they have holes.
///
/// Fails with `Kind::Source` when something cannot be looked at, and with `Kind::SourceChanged` when
/// something changes during the look.
pub fn scan(root: &OwnedFd, root_path: &Path, options: Options, stop: &Stop) -> Result<ArchivePlan> {
    let mut pass = Pass::scanning(options);
    pass.tree(root, root_path, stop)?;
    let stream_bytes = pass.stream_bytes();
    let (outline, Measured { extended_bytes, only_in_attributes }) = pass.into_results(root_path)?;
    Ok(ArchivePlan {
        stream_bytes: ended(stream_bytes),
        stream_with_attributes_bytes: ended(stream_bytes + extended_bytes),
        only_in_attributes,
        entries: outline.entries(),
        outline,
        extended_bytes,
    })
}
