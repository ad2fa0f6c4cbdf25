//! A directory tree: reading it as a tar archive, and writing it from one.

pub mod read;
pub mod write;
