//! Tar in our own process.
//!
//! Writing: [`scan`](scan::scan) tells beforehand how long the archive of a folder becomes,
//! [`write`](write::write) makes it. Both are the same pass over the same tree (`pack`), once with the
//! file contents left out, so they cannot disagree.

pub mod extents;
mod header;
mod links;
mod look;
mod member;
mod meta;
mod names;
mod pack;
pub mod plan;
pub mod scan;
mod tally;
mod walk;
pub mod write;
