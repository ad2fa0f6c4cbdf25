//! The tests of `cloner/tests/copy/main.rs` over the path between two pods: `cloner copy --wire`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../copy/attributes.rs"]
mod attributes;
#[path = "../copy/command.rs"]
mod command;
#[path = "../copy/devices.rs"]
mod devices;
#[path = "../copy/digests.rs"]
mod digests;
#[path = "../copy/directories.rs"]
mod directories;
#[path = "../copy/failures.rs"]
mod failures;
#[path = "../copy/leftovers.rs"]
mod leftovers;
#[path = "../copy/optional.rs"]
mod optional;
#[path = "../copy/property.rs"]
mod property;
#[path = "../copy/refusals.rs"]
mod refusals;
#[path = "../copy/replaced.rs"]
mod replaced;
#[path = "../copy/screen.rs"]
mod screen;
#[path = "../copy/single_stack.rs"]
mod single_stack;
#[path = "../copy/sizes.rs"]
mod sizes;
#[path = "../copy/spelling.rs"]
mod spelling;
#[path = "../copy/writers.rs"]
mod writers;

/// The arguments of every copy.
pub(crate) const MODE: &[&str] = &["--wire"];
/// Whether the copies use the path between two pods.
pub(crate) const IS_WIRE: bool = true;
