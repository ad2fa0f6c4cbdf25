//! Tar in our own process.

pub mod extents;
