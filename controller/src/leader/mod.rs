//! Leader election.

pub mod hold;
pub mod lease;
pub mod record;
