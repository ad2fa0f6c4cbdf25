//! Makes one tar archive of a folder, in our own process (contract 1.10).
//!
//! [`scan`](scan::scan) tells beforehand how long the archive becomes, [`write`](write::write) makes it. Both
//! are the same pass over the same tree (`layout`), once with the file contents left out, so they cannot
//! disagree.

mod ahead;
mod apart;
mod census;
mod extended;
pub mod extents;
mod header;
mod layout;
mod links;
pub(crate) mod links_out;
mod look;
mod member;
mod meta;
mod names;
pub mod plan;
pub mod scan;
mod tally;
mod unsteady;
mod walk;
pub mod write;
