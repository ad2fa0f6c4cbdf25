//! Populations from the first call to the last: whole rounds of the real reconciler against a model of Kubernetes.
//!
//! `kubernetes` is the model: an API server with a provisioner, the controllers for volumes, claims and pods, and the
//! garbage collector. `controller` runs the reconciler on it, with stores and wake-ups as the watches bring them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

mod controller;
mod kubernetes;
mod scenarios;
mod snapshots;
mod strangers;
mod uninterrupted;
