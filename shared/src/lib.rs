//! What both ends of a Decant clone and its controller must agree on.
#![forbid(unsafe_code)]

pub mod conn;
pub mod contract;
pub mod descriptors;
pub mod dial;
pub mod exit;
pub mod http;
pub mod log;
pub mod panics;
pub mod progress;
pub mod prometheus;
pub mod session;
pub mod signal;
pub mod stop;
pub mod stream_of;
pub mod text;
pub mod tls;
pub mod units;
