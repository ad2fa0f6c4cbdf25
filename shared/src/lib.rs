//! What the two ends of a Decant clone and its controller share. Three layers; each uses only the layers after it:
//!
//! * [`net`]: sockets, TLS and HTTP/1.1. Knows nothing about clones, except where a pod's keys are;
//! * [`protocol`]: what the programs agree on: names, headers, progress, exit codes. No sockets, no files;
//! * [`process`]: what every Decant program does once: logging, signals, panics, stopping.
#![forbid(unsafe_code)]

pub mod net;
pub mod process;
pub mod protocol;
