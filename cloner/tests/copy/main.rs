//! `cloner copy` as a process, with real files, folders and block devices.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod attributes;
mod command;
mod devices;
mod digests;
mod failures;
mod folders;
mod optional;
mod property;
mod refusals;
mod remains;
mod replaced;
mod screen;
mod single_stack;
mod sizes;
mod spelling;
mod writers;
