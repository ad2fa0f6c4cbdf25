//! The data path of Decant: `source` reads a volume and sends it, `target` receives it and writes it,
//! `copy` is both in one process.
#![forbid(unsafe_code)]

pub mod archive;
pub mod args;
pub mod attribute;
pub mod claim;
pub mod closing;
pub mod copy;
pub mod digest;
pub mod environment;
pub mod error;
pub mod frame;
pub mod holes;
pub mod lanes;
pub mod metrics;
pub mod narrator;
pub mod optional;
pub mod pack;
pub mod pod_words;
pub mod prep;
pub mod role;
mod room;
pub mod source;
pub mod stream;
pub mod target;
pub mod termination;
pub mod threads;
pub mod ticker;
pub mod unpack;
