//! Makes one tar archive of a directory, in our own process (contract 1.10).
//!
//! [`scan`](scan::scan) computes beforehand how long the archive becomes, [`write_archive`](write_archive::write_archive)
//! makes it. Both are the same pass over the same tree (`pass`), once without the content of the files, so they cannot
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
