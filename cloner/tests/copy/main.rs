//! `cloner copy` as a process, with real files, directories and block devices. `cloner/tests/copy_wire/main.rs` runs the
//! same tests over the path between two pods.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod attributes;
mod command;
mod devices;
mod digests;
mod directories;
mod failures;
mod leftovers;
mod optional;
mod property;
mod refusals;
mod replaced;
mod resumed;
mod screen;
mod shared;
mod sizes;
mod spelling;
mod writers;

/// The arguments of every copy.
pub(crate) const MODE: &[&str] = &[];
/// Whether the copies use the path between two pods.
pub(crate) const IS_WIRE: bool = false;
