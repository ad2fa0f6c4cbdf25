//! Clones that are interrupted, with both ends as processes, and what is sent again after that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod bounded;
mod changes;
mod cuts;
mod direct;
mod failing;
mod flooded;
mod kills;
mod limits;
mod matrix;
mod modes;
mod pair;
mod power;
mod renewal;
mod streams;
