//! The controller of Decant: watches DataVolumes, creates the pods that clone, and reports progress.
//!
//! Watch threads fill typed stores (`watch`). A worker takes a key (`reconcile`), observes all related objects, decides
//! without side effects, and executes the decision. `docs/architecture.md` draws how the modules depend on each other.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod api;
pub mod certificates;
pub mod cli;
pub mod cluster_settings;
pub mod leader;
pub mod objects;
pub mod pages;
pub mod pods;
pub mod policy;
pub mod progress;
pub mod reconcile;
pub mod run;
pub mod summary;
pub mod token;
pub mod watch;
pub mod webhook;
