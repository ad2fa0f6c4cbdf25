//! VolumePopulators: they register the kinds of object that a PVC may name as its data source, so that Kubernetes' data
//! source validator does not report such a PVC as wrong.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::objects::{Kind, Meta};

/// The kinds that Decant registers, with the names of their VolumePopulators.
pub const REGISTERED: [(&str, Kind); 2] =
    [("decant-clonesource", Kind::CloneSource), ("decant-volumeclonesource", Kind::VolumeCloneSource)];

/// What is read of a VolumePopulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumePopulator {
    /// Metadata.
    pub metadata: Meta,
    /// The kind that it registers.
    pub source_kind: SourceKind,
}

/// A kind of data source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SourceKind {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

impl VolumePopulator {
    /// Whether it registers `kind`.
    pub fn registers(&self, kind: Kind) -> bool {
        self.source_kind.group == kind.group() && self.source_kind.kind == kind.name()
    }

    /// Whether it registers one of Decant's kinds under another name than Decant does: probably, another controller
    /// serves the same kind.
    pub fn competes_for(&self) -> Option<Kind> {
        let found =
            REGISTERED.into_iter().find(|(name, kind)| self.metadata.name != *name && self.registers(*kind));
        found.map(|(_, kind)| kind)
    }
}

/// The VolumePopulator `name` that registers `kind`.
pub fn object(name: &str, kind: Kind) -> Value {
    json!({
        "apiVersion": Kind::VolumePopulator.api_version(),
        "kind": Kind::VolumePopulator.name(),
        "metadata": { "name": name },
        "sourceKind": { "group": kind.group(), "kind": kind.name() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_of_the_same_kind_under_another_name_competes() {
        let populator = |name: &str, kind: Kind| {
            serde_json::from_value::<VolumePopulator>(object(name, kind)).unwrap().competes_for()
        };
        for (name, kind) in REGISTERED {
            assert_eq!(populator(name, kind), None);
            assert_eq!(populator("cdi-volume-clone", kind), Some(kind));
        }
        assert_eq!(populator("decant-clonesource", Kind::VolumeCloneSource), Some(Kind::VolumeCloneSource));
        assert_eq!(populator("other", Kind::DataVolume), None);
    }
}
