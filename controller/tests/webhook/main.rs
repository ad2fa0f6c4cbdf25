//! The admission webhook as a server: which callers are answered, and its memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod callers;
mod memory;
mod server;
