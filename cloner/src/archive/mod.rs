//! Tar in our own process.
//!
//! Reading: [`read`] turns a stream into members and their content; [`entry`] is what a member is, and
//! `blocks`, `field`, `member`, `pax` and `sparse_map` understand the parts of its headers.

mod blocks;
pub mod entry;
mod field;
mod member;
pub(crate) mod pax;
pub mod read;
pub(crate) mod sparse_map;
