//! A PersistentVolumeClaim.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use crate::objects::annotations::{
    CLONE_SOURCE_FINALIZER, DATA_SOURCE_NAMESPACE, OWN_CLONE_FINALIZER, OWN_POPULATOR_FINALIZER, POPULATES,
    POPULATOR_FINALIZER, RESTORED_FOR,
};
use crate::objects::clone_source::{PopulatorKind, PopulatorRef};
use crate::objects::key::Key;
use crate::objects::kind::Kind;
use crate::objects::meta::Meta;
use crate::objects::names;
use crate::objects::names::NameStyle;
use crate::objects::phase::ClaimPhase;

/// What is read of a PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Metadata.
    pub metadata: Meta,
    /// The spec: what is requested.
    pub spec: ClaimSpec,
    /// The status.
    pub status: ClaimStatus,
}

/// What a claim asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Access modes.
    pub access_modes: Vec<String>,
    /// Storage class; `None` until the default is filled in, `""` for none.
    pub storage_class_name: Option<String>,
    /// `Filesystem` by default.
    #[serde(deserialize_with = "mode")]
    pub volume_mode: VolumeMode,
    /// The bound volume's name.
    pub volume_name: String,
    /// Requested resources.
    pub resources: Resources,
    /// The object that fills the volume, in the field of Kubernetes before 1.24.
    pub data_source: Option<DataSourceRef>,
    /// The object that fills the volume.
    pub data_source_ref: Option<DataSourceRef>,
}

/// The object that fills a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSourceRef {
    /// Its API group; `None` for the core group.
    pub api_group: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, if it is another than the PVC's.
    pub namespace: Option<String>,
}

/// Requests by resource name, as Kubernetes quantities.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The requested amounts.
    pub requests: Amounts,
}

/// Amounts by resource name; only storage is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// A Kubernetes quantity, as it was written.
    #[serde(deserialize_with = "quantity")]
    pub storage: Option<String>,
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<Quantity>::deserialize(deserializer).map(|found| found.map(|Quantity(text)| text))
}

pub(super) fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VolumeMode, D::Error> {
    Option::<VolumeMode>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A Kubernetes quantity as it was written: text or a bare number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as 10Gi")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
        Ok(Quantity(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
        Ok(Quantity(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
        Ok(Quantity(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Quantity, E> {
        Ok(Quantity(number.to_string()))
    }
}

/// The status of a claim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimStatus {
    /// Whether it has a volume.
    pub phase: ClaimPhase,
    /// The capacity of its volume.
    pub capacity: Amounts,
}

/// How a volume is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeMode {
    /// Files.
    #[default]
    Filesystem,
    /// A device.
    Block,
}

impl Claim {
    /// Whose names, labels and annotations the objects of the clone into this claim have.
    pub fn style(&self) -> NameStyle {
        names::style(&self.metadata.name)
    }

    /// The finalizer that protects source pods.
    pub fn clone_finalizer(&self) -> &'static str {
        match self.style() {
            NameStyle::Cdi => CLONE_SOURCE_FINALIZER,
            NameStyle::Decant => OWN_CLONE_FINALIZER,
        }
    }

    /// The finalizer that protects the clone which fills the claim before it is bound.
    pub fn population_finalizer(&self) -> &'static str {
        match self.populator().map(|populator| populator.kind) {
            Some(PopulatorKind::CloneSource) => OWN_POPULATOR_FINALIZER,
            Some(PopulatorKind::VolumeCloneSource) | None => POPULATOR_FINALIZER,
        }
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        self.metadata.finalizers.iter().any(|name| name == finalizer)
    }

    /// Whether the claim has the finalizer that protects source pods.
    pub fn is_held(&self) -> bool {
        self.has_finalizer(self.clone_finalizer())
    }

    /// Whether the claim has the finalizer that protects the clone which fills it before it is bound.
    pub fn is_held_for_population(&self) -> bool {
        self.has_finalizer(self.population_finalizer())
    }

    /// The CloneSource or VolumeCloneSource that fills it; `None` if another object fills it, or none does.
    pub fn populator(&self) -> Option<PopulatorRef> {
        let source = self.spec.data_source_ref.as_ref().or(self.spec.data_source.as_ref())?;
        let group = source.api_group.as_deref().unwrap_or_default();
        let is_of = |kind: Kind| group == kind.group() && source.kind == kind.name();
        let own = &self.metadata.namespace;
        let namespace = source.namespace.as_ref().filter(|name| !name.is_empty()).unwrap_or(own);
        if is_of(Kind::CloneSource) {
            return Some(PopulatorRef {
                kind: PopulatorKind::CloneSource,
                key: Key::new(namespace, &source.name),
            });
        }
        if is_of(Kind::VolumeCloneSource) {
            let annotated = self.metadata.annotation(DATA_SOURCE_NAMESPACE).filter(|name| !name.is_empty());
            return Some(PopulatorRef {
                kind: PopulatorKind::VolumeCloneSource,
                key: Key::new(annotated.unwrap_or(namespace), &source.name),
            });
        }
        None
    }

    /// The name of its prime, if it is filled before it is bound.
    pub fn prime_name(&self) -> Option<String> {
        Some(names::prime(self.populator()?.kind, &self.metadata.uid))
    }

    /// The claim that gets the volume of this one, according to an annotation that users can write. A claim that is
    /// filled before it is bound fills no other one.
    pub fn populates(&self) -> Option<Key> {
        let annotation = self.metadata.annotation(POPULATES).filter(|_| self.populator().is_none());
        annotation?.parse().ok()
    }

    /// The claim that this one is cloned into, if it is restored from a snapshot for that, according to an annotation that
    /// users can write.
    pub fn restored_for(&self) -> Option<Key> {
        self.metadata.annotation(RESTORED_FOR)?.parse().ok()
    }

    /// Whether it is bound to a volume.
    pub fn is_bound(&self) -> bool {
        self.status.phase == ClaimPhase::Bound
    }

    /// The requested size, as Kubernetes wrote it.
    pub fn requested(&self) -> Option<String> {
        self.spec.resources.requests.storage.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quantity_is_text_or_a_number_and_nothing_else() {
        let read = |value| serde_json::from_value::<Quantity>(value).map(|Quantity(text)| text).ok();
        assert_eq!(read(json!("10Gi")).as_deref(), Some("10Gi"));
        assert_eq!(read(json!(1_073_741_824)).as_deref(), Some("1073741824"));
        assert_eq!(read(json!(-1)).as_deref(), Some("-1"));
        assert_eq!(read(json!(1.5)).as_deref(), Some("1.5"));
        for odd in [json!([]), json!({}), json!(true)] {
            assert_eq!(read(odd), None);
        }
    }
}
