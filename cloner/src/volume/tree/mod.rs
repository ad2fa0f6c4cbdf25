//! A directory tree: reads it as a tar archive, and writes it from one.

pub mod read;
pub mod write;
