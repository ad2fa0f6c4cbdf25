//! The two pods of a clone.

use std::collections::BTreeMap;

use crate::objects::Meta;
use crate::objects::annotations::{
    COMPONENT, COMPONENT_SOURCE, COMPONENT_TARGET, PROOF, ROLE, SOURCE_CONTAINER, TARGET_CONTAINER,
};

/// One of the two pods of a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and sends.
    Source,
    /// Receives and writes.
    Target,
}

/// Whether a pod has a mark that only Decant's pods have. CDI's pods have the labels `app` and [`COMPONENT`], too.
pub fn is_ours(pod: &Meta) -> bool {
    pod.labels.contains_key(ROLE) || pod.annotation(PROOF).is_some()
}

impl Role {
    /// The role of the pod with these labels. Users can write them; the seal shows whether they are true.
    pub fn of(labels: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name| labels.get(name).map(String::as_str);
        match (text(ROLE), text(COMPONENT)) {
            (Some("source"), _) | (None, Some(COMPONENT_SOURCE)) => Some(Role::Source),
            (Some("target" | "direct"), _) | (None, Some(COMPONENT_TARGET)) => Some(Role::Target),
            _ => None,
        }
    }

    /// The value of the label [`ROLE`].
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Target => "target",
        }
    }

    /// The value of CDI's label [`COMPONENT`].
    pub fn component(self) -> &'static str {
        match self {
            Role::Source => COMPONENT_SOURCE,
            Role::Target => COMPONENT_TARGET,
        }
    }

    /// The name of its container.
    pub fn container(self) -> &'static str {
        match self {
            Role::Source => SOURCE_CONTAINER,
            Role::Target => TARGET_CONTAINER,
        }
    }
}
