//! The API server: its requests and answers as blocking calls, and how it is reached.

pub mod client;
pub mod cluster;
pub mod counted;
pub mod kubeconfig;
pub mod listing;
pub mod requests;
pub mod responses;
pub mod runtime;
