//! What both ends of a Decant clone and its controller share. Three rooms, each of which uses only those after it:
//!
//! * [`net`]: sockets, TLS and HTTP/1.1. Knows nothing of a clone;
//! * [`protocol`]: what the ends agree on: names, headers, progress, exit codes. No sockets, no files;
//! * [`process`]: what every program of Decant does once: logging, signals, panics, stopping.
#![forbid(unsafe_code)]

pub mod net;
pub mod process;
pub mod protocol;
