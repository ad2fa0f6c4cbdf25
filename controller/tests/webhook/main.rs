//! The admission webhook as a server: who is answered, and what it holds in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod callers;
mod memory;
mod server;
