//! `cloner target` as a process: real sockets, real certificates, real filesystems and devices.
//!
//! What uses loop devices or mounts needs root (see `decant_test_support::able`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod admission;
mod attributes;
mod body;
mod bounds;
mod client;
mod combinations;
mod configuration;
mod damage;
mod deadline;
mod device;
mod dirty_device;
mod ending;
mod flooded;
mod full;
mod hostile;
mod identity;
mod image_in_archive;
mod leftovers;
mod process;
mod recordings;
mod renewal;
mod streams;
mod tls;
mod writers;
