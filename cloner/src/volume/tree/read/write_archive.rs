//! Making the archive of a directory.

use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use crate::error::{Error, Kind, Result};
use crate::stream::Sink;
use crate::volume::tree::read::pass::Pass;
use crate::volume::tree::read::plan::{ArchivePlan, Options, Totals};

/// Puts everything in the directory `root`, whose path for messages is `root_path`, into `sink` as a GNU tar
/// archive (contract 1.10), with extended headers if `options` asks for attributes (6.4). `plan` is what
/// [`scan`](crate::volume::tree::read::scan::scan) said with the same options.
///
/// Fails with `Kind::Source` when something cannot be read, and with `Kind::SourceChanged` when a file
/// changes while it is read or the tree is not the planned one: then the archive has no end. Names are
/// only names: nothing in them is ever interpreted.
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
    if options.attributes && pass.extended_bytes() != plan.extended_bytes {
        let path = root_path.display();
        let text = format!("the extended attributes in {path} changed while it was read");
        return Err(Error::new(Kind::SourceChanged, text));
    }
    pass.end()?;
    Ok(Totals { stream_bytes: pass.stream_bytes(), entries: plan.entries })
}
