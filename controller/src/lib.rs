//! The controller of Decant: watches DataVolumes, makes the pods that clone, tells how far they are.
//!
//! `observe -> decide -> act`: watch threads keep typed stores, a worker takes a key, looks at everything that
//! belongs to it (`observe`), decides without side effects (`decide`) and carries the decision out (`act`).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod annotations;
pub mod cluster;
pub mod policy;
pub mod resource;
