//! Makes one tar archive of a folder, in our own process (contract 1.10).
//!
//! [`scan`](scan::scan) tells beforehand how long the archive becomes, [`write`](write_archive::write) makes it. Both
//! are the same pass over the same tree (`layout`), once with the file contents left out, so they cannot
//! disagree.

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
pub mod scan;
mod unsteady;
mod walk;
pub mod write_archive;
mod xattr_thread;
