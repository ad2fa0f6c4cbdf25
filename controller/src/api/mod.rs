//! The client of the API server: requests and responses as blocking calls, and its configuration.

pub mod client;
pub mod cluster;
pub mod counted;
pub mod kubeconfig;
pub mod listing;
pub mod requests;
pub mod responses;
pub mod runtime;
