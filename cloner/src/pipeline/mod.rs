//! The threads that process a stream: the lanes between them, how they are joined, and the limit of their rate.

pub mod join;
pub mod lanes;
pub mod rate_limiter;
