//! Clones on a real cluster, with the images in the pods. `scripts/test.sh cluster` brings one up and runs this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod alone;
mod api_relay;
mod beside;
mod breaks;
mod certificates;
mod content;
mod copies;
mod direct;
mod environment;
mod grants;
mod installed;
mod kubectl;
mod leftovers;
mod objects;
mod plugin;
mod populated;
mod processes;
mod progress;
mod provisioned;
mod refusals;
mod restores;
mod rights;
mod strangers;
mod waits;

pub(crate) const MIB: usize = 1 << 20;
/// So little CPU that a clone of some ten megabytes takes some ten seconds.
pub(crate) const SLOW: [&str; 2] = ["--pod-resources", r#"{"limits":{"cpu":"20m","memory":"64Mi"}}"#];
