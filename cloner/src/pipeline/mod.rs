//! The threads that process a stream: the lanes between them, how they are joined, the memory they read into, and the
//! limit of their rate.

pub mod join;
pub mod lanes;
pub mod page_buffer;
pub mod rate_limiter;
