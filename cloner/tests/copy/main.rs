//! `cloner copy` as a process, with real files, directories and block devices.
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
mod screen;
mod single_stack;
mod sizes;
mod spelling;
mod writers;
