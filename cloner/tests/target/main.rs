//! `cloner target` as a process: real sockets, real certificates, real filesystems and devices.
//!
//! What uses loop devices or mounts needs root (see `able`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../disks/mod.rs"]
mod disks;
#[path = "../../../shared/tests/flood/mod.rs"]
mod flood;
#[path = "../hand_made/mod.rs"]
mod hand_made;
#[path = "../noise/mod.rs"]
mod noise;
mod support;

mod admission;
mod attributes;
mod bounds;
mod combinations;
mod configuration;
mod damage;
mod deadline;
mod device;
mod ending;
mod flooded;
mod full;
mod hostile;
mod identity;
mod image_in_archive;
mod leftovers;
mod recordings;
mod renewal;
mod streams;
mod tls;
mod writers;
