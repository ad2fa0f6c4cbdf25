//! What the controller's tests and its fuzz targets share: a cluster without objects, and a clone with anything in its
//! objects. Only dev-dependencies and `controller/fuzz` name this crate, so it is part of no binary.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

pub mod bytes;
pub mod cluster;
pub mod world;
