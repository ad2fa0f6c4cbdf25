//! Finding out beforehand how long the archive of a folder becomes.

use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use super::apart::Measured;
use super::layout::{Pass, ended};
use super::plan::{Options, Plan};
use crate::error::Result;

/// Looks at everything in the folder `root`, whose path for messages is `root_path`, and computes what
/// [`write`](super::write::write) is going to do with it, with attributes (if `options` asks for them) and without.
/// No content is read; files are opened to ask for their attributes, and where they have holes.
///
/// Fails with `Kind::Source` when something cannot be looked at, and with `Kind::SourceChanged` when
/// something changes during the look.
pub fn scan(root: &OwnedFd, root_path: &Path, options: Options, stop: &Stop) -> Result<Plan> {
    let mut pass = Pass::scanning(options);
    pass.tree(root, root_path, stop)?;
    let stream_bytes = pass.stream_bytes();
    let (outline, Measured { extended_bytes, only_in_attributes }) = pass.into_results(root_path)?;
    Ok(Plan {
        stream_bytes: ended(stream_bytes),
        stream_with_attributes_bytes: ended(stream_bytes + extended_bytes),
        only_in_attributes,
        entries: outline.entries(),
        outline,
        extended_bytes,
    })
}
