//! The threads that process a stream: the lanes between them, and how they are joined.

pub mod join;
pub mod lanes;
