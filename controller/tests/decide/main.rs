//! The tables of `docs/protocol.md` section 7: what is seen, and the step that follows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod before;
mod claimed;
mod ends;
mod kept;
mod pods;
mod refusals;
mod said;
mod seen;
mod states;
