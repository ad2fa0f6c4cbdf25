//! Reads tar archives: [`read`] turns a stream into members and their content; [`entry`] is what a member is,
//! and `field`, `pax` and `sparse_map` understand the parts of its headers.

pub mod entry;
mod field;
mod member;
mod pax;
pub mod read;
mod sparse_map;
