//! Populations from the first call to the last: whole rounds of the real reconciler against a model of Kubernetes.
//!
//! `decant_controller_test_support::kubernetes` is the model: an API server with a provisioner, the controllers for volumes,
//! claims and pods, and the garbage collector. `decant_controller_test_support::running_cluster` runs the reconciler on it, with
//! stores and wake-ups as the watches bring them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

mod nodes;
mod scenarios;
mod settings;
mod snapshots;
mod source_snapshots;
mod strangers;
mod uninterrupted;
