//! Clones that are interrupted, with both ends as processes, and what is sent again after that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../disks/mod.rs"]
mod disks;
#[path = "../../../shared/tests/flood/mod.rs"]
mod flood;
#[path = "../noise/mod.rs"]
mod noise;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../target/support/pki.rs"]
mod pki;
#[path = "../trees/mod.rs"]
mod trees_of_files;

mod bounded;
mod cell;
mod changes;
mod cuts;
mod failing;
mod flooded;
mod kills;
mod modes;
mod pair;
mod power;
mod relay;
mod renewal;
mod room;
mod streams;
