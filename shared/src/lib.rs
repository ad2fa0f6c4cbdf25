//! What both ends of a Decant clone and its controller must agree on.
#![forbid(unsafe_code)]

pub mod exit;
pub mod progress;
pub mod prometheus;
pub mod stop;
pub mod units;
