//! The two pods of a clone.

use crate::objects::annotations::{SOURCE_CONTAINER, TARGET_CONTAINER};

/// One of the two pods of a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and sends.
    Source,
    /// Receives and writes.
    Target,
}

impl Role {
    /// The name of its container.
    pub fn container(self) -> &'static str {
        match self {
            Role::Source => SOURCE_CONTAINER,
            Role::Target => TARGET_CONTAINER,
        }
    }
}
