//! The archive that the source writes, against real folders and GNU tar.
// clippy knows only test functions as tests, not what they share.
#![allow(clippy::unwrap_used)]

mod disks;
mod trees;

#[path = "pack_tree/tree.rs"]
mod tree;

#[path = "pack_tree/attributes.rs"]
mod attributes;
#[path = "pack_tree/changes.rs"]
mod changes;
#[path = "pack_tree/gnu.rs"]
mod gnu;
#[path = "pack_tree/plan.rs"]
mod plan;
#[path = "pack_tree/sparse.rs"]
mod sparse;
#[path = "pack_tree/unsteady.rs"]
mod unsteady;
