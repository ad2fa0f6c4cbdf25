//! The data path of Decant: `source` reads a volume and sends it, `target` receives it and writes it,
//! `copy` is both in one process.
#![forbid(unsafe_code)]

pub mod attributes;
pub mod commands;
pub mod digest;
pub mod error;
pub mod pipeline;
pub mod receive;
pub mod report;
pub mod send;
pub mod snappy;
pub mod stream;
pub mod tar;
pub mod volume;
