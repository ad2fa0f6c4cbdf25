//! Tar in our own process.
//!
//! Reading: [`reader`] turns a stream into members and their content; [`entry`] is a member, and `blocks`, `field`, `member`,
//! `pax` and `sparse_map` understand the parts of its headers. Writing: `writer` puts the headers that `header` makes into a
//! `counting_sink`.

mod blocks;
pub(crate) mod counting_sink;
pub mod entry;
mod field;
pub(crate) mod header;
mod member;
pub mod nanoseconds;
pub(crate) mod pax;
pub mod reader;
pub mod record;
pub(crate) mod sparse_map;
pub(crate) mod writer;
