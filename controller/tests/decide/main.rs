//! The tables of `docs/protocol.md` section 7: what is seen, and the step that follows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod claimed;
mod direct;
mod ends;
mod fixtures;
mod messages;
mod pods;
mod populated;
mod refusals;
mod restores;
mod snapshots;
mod source_snapshots;
mod states;
mod without_pods;
