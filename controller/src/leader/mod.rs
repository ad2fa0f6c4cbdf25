//! Which of several controllers acts.

pub mod hold;
pub mod lease;
pub mod record;
