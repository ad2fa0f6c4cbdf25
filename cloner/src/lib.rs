//! The data path of Decant: `send` reads a volume and sends it, `receive` receives it and writes it. `commands` runs each
//! of them in a pod, or both in one process. Which module may import which is in docs/architecture.md.
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
