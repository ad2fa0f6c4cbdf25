//! `cloner copy` as a process, with real files, folders and block devices.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod disks;
mod noise;
mod trees;

#[path = "copy/attributes.rs"]
mod attributes;
#[path = "copy/command.rs"]
mod command;

#[path = "copy/devices.rs"]
mod devices;
#[path = "copy/digests.rs"]
mod digests;
#[path = "copy/failures.rs"]
mod failures;
#[path = "copy/folders.rs"]
mod folders;
#[path = "copy/optional.rs"]
mod optional;
#[path = "copy/property.rs"]
mod property;
#[path = "copy/refusals.rs"]
mod refusals;
#[path = "copy/remains.rs"]
mod remains;
#[path = "copy/replaced.rs"]
mod replaced;
#[path = "copy/screen.rs"]
mod screen;
#[path = "copy/single_stack.rs"]
mod single_stack;
#[path = "copy/sizes.rs"]
mod sizes;
#[path = "copy/spelling.rs"]
mod spelling;
#[path = "copy/writers.rs"]
mod writers;
