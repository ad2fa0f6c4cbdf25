//! The receiver: receives one clone and makes it durable.
//!
//! ```text
//! session (a connection's thread): TLS, HTTP body -> packs -> decompressors -> batches -> writer
//! ```
//!
//! [`admission`] decides whether a request may upload. [`mod@pipeline`] runs the stages on its body, and
//! [`writing`](crate::writing) writes the result. [`transfer_state`] holds the state: one
//! transfer at a time, one success per process. [`server`] answers.

pub mod admission;
pub mod body;
pub mod pipeline;
pub mod received_stream;
pub mod resume_verifier;
pub mod server;
pub mod session_report;
pub mod streams;
pub mod transfer_state;

/// The stop reason of a transfer whose source was silent for so long that another one replaced it.
const REPLACED: &str = "the source fell silent and another one took its place";
