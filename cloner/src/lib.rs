//! The data path of Decant: `source` reads a volume and sends it, `target` receives it and writes it,
//! `copy` is both in one process.
#![forbid(unsafe_code)]

pub mod archive;
pub mod error;
pub mod stream;
pub mod unpack;
