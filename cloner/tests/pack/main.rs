//! The archive that the source writes, against real directories and GNU tar.
// clippy knows only test functions as tests, not what they share.
#![allow(clippy::unwrap_used)]

mod attributes;
mod changes;
mod gnu;
mod plan;
mod sparse;
mod tree;
mod unsteady;
