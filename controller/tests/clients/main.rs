//! Clients of CDI: what they submit, what they wait for, and what they conclude from what the controller writes. Each row of the
//! table "Clients of CDI" in docs/migrate-from-cdi.md names its tests here.
//!
//! The objects are those that the clients' code builds, with other names. Their conditions are expressed in our own code, and are
//! evaluated after every round of the controller and after every step of Kubernetes. The clients act on the same cluster: they
//! start pods, and delete what they no longer need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

mod disks;
mod forklift;
mod harvester;
mod kubevirt;
mod migration_controller;
mod tekton;
mod velero;
