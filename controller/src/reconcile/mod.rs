//! One round for one key: observe everything that belongs to it, decide, act, and report.

pub mod act;
pub mod actions;
pub mod adoption;
pub mod compatibility;
pub mod data_sources;
pub mod decide;
pub mod events;
pub mod last_error;
pub mod observe;
pub mod observed;
pub mod outcome;
pub mod permission;
pub mod population;
pub mod reconciler;
pub mod reserved_volumes;
pub mod rules;
pub mod scheduling;
pub mod status;
pub mod step;
pub mod transfer;
