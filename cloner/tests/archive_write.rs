//! The archive that the source writes, against real folders and GNU tar.
// clippy knows only test functions as tests, not what they share.
#![allow(clippy::unwrap_used)]

#[path = "archive/tree.rs"]
mod tree;

#[path = "archive/changes.rs"]
mod changes;
#[path = "archive/gnu.rs"]
mod gnu;
#[path = "archive/plan.rs"]
mod plan;
#[path = "archive/sparse.rs"]
mod sparse;
