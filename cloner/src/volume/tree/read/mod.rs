//! Makes one tar archive of a directory, in this process (docs/protocol.md section 1.10).
//!
//! [`scan`] computes the length of the archive, and [`write_archive`] writes it. Both make the same pass over the tree
//! (`pass`), the scan without the content of the files, so their results cannot differ.

mod census;
mod extended;
pub mod extents;
mod links;
pub(crate) mod links_out;
mod lstat;
mod names;
mod pass;
pub mod plan;
mod read_ahead;
mod unsteady;
mod walk;
mod xattr_thread;

use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use crate::error::{Error, Kind, Result};
use crate::stream::Sink;
use crate::volume::tree::read::pass::{Pass, ended};
use crate::volume::tree::read::plan::{ArchivePlan, Options, Totals};
use crate::volume::tree::read::xattr_thread::Measured;

/// Computes the [`ArchivePlan`] of the directory `root`: what [`write_archive`] is going to write, with attributes (if
/// `options` asks for them) and without. `root_path` is for messages. No content is read. Files are opened to read
/// their attributes and to find their holes.
///
/// Errors: `Kind::Source` if an entry cannot be read, `Kind::SourceChanged` if an entry changes during the scan.
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
        extended_bytes: options.attributes.then_some(extended_bytes),
    })
}

/// Writes everything in the directory `root` into `sink` as a GNU tar archive (docs/protocol.md section 1.10), with
/// extended headers if `options` asks for attributes (docs/protocol.md section 6.4). `root_path` is for messages.
/// `plan` is the result of [`scan`] with the same options, or without attributes. Names are written as they are and never interpreted.
///
/// Errors: `Kind::Source` if something cannot be read, `Kind::SourceChanged` if a file changes while it is read or the
/// tree differs from the plan. After an error the archive has no end mark.
pub fn write_archive(
    root: &OwnedFd,
    root_path: &Path,
    options: Options,
    plan: &ArchivePlan,
    sink: &mut dyn Sink,
    stop: &Stop,
) -> Result<Totals> {
    let mut pass = Pass::writing(options, &plan.outline, sink);
    pass.tree(root, root_path, stop)?;
    pass.compare(root_path)?;
    let planned = plan.extended_bytes.filter(|_| options.attributes);
    if planned.is_some_and(|planned| planned != pass.extended_bytes()) {
        let path = root_path.display();
        let text = format!("the extended attributes in {path} changed while it was read");
        return Err(Error::new(Kind::SourceChanged, text));
    }
    pass.end()?;
    Ok(Totals { stream_bytes: pass.stream_bytes(), entries: plan.entries })
}
