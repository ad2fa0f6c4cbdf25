//! Helpers that the controller's tests and fuzz targets share: a cluster without objects, a clone whose objects have arbitrary
//! content, and a model of Kubernetes with the controller on it. This crate is only a dependency of tests and of `controller/fuzz`, and so is part of no released binary. Its one
//! program, `test-provisioner`, provisions volumes in the test cluster.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

pub mod bytes;
pub mod cluster;
pub mod kubernetes;
pub mod running_cluster;
pub mod world;
