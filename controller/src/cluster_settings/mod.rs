//! The settings of the cluster in CDI's objects, where flags leave them open
//! (docs/operations.md, "Settings of the cluster").
//!
//! [`read`] reads the objects, [`merge`] decides which value counts, and [`live`] keeps the result for all threads.

pub mod live;
pub mod merge;
pub mod read;

pub use live::LivePolicy;
