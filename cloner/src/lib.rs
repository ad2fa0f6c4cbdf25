//! The data path of Decant: `send` reads a volume and sends it, `receive` receives it and writes it. `commands` runs each
//! of them in a pod, or both in one process. docs/architecture.md lists the layers.
#![forbid(unsafe_code)]

pub mod attributes;
pub mod commands;
pub mod digest;
pub mod direct;
pub mod error;
pub mod pipeline;
pub mod receive;
pub mod report;
pub mod send;
pub mod snappy;
pub mod stream;
pub mod tar;
pub mod volume;
pub mod writing;
pub mod zeros;
