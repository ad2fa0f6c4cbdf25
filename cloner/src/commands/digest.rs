//! `cloner digest`: prints the digest of a volume, as a clone computes it, for manual checks.

use std::io::Write;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;

use crate::commands::cli::DigestArgs;
use crate::error::{Error, Kind, Result};
use crate::volume::Volume;
use crate::volume::hashing::HashingSink;
use crate::volume::tree::read::plan::Options;

/// Prints the digest and the path. Errors: `Kind::Damaged` if the digest differs from the expected one.
pub fn run(args: &DigestArgs, stop: &Stop) -> Result<()> {
    let path = &args.path;
    let meta = std::fs::metadata(path).map_err(|e| Error::source("find", path, e))?;
    let content = if meta.is_dir() { ContentType::Filesystem } else { ContentType::Block };
    let volume = Volume::open(path, content, Options::CONTENT, stop)?;
    let mut hashing = HashingSink::new(stop, &|_| {});
    // The volume may be larger than the content that was cloned onto it.
    let limit_bytes = args.bytes.or(args.expect.map(|expected| expected.content_bytes));
    volume.read_into(limit_bytes.unwrap_or(u64::MAX), &mut hashing, stop)?;
    let found = hashing.segments().finish();
    match args.expect {
        Some(expected) if expected != found => {
            let path = path.display();
            return Err(Error::new(Kind::Damaged, format!("{path} has the digest {found}, not {expected}")));
        }
        _ => {}
    }
    let line = format!("{found}  {}\n", path.display());
    std::io::stdout()
        .write_all(line.as_bytes())
        .map_err(|e| Error::io(Kind::Failed, "cannot write to standard output", e))
}
