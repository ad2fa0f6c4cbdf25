//! What is read of the parts of a DataVolume that are kept as text. Nothing else of them is parsed, and what is kept
//! stays small, whatever they hold.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::resource::data_volume::ClaimSource;
use crate::resource::object::Object;

/// `spec.source`: which kinds of sources it names.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// How many; one that is null does not count.
    pub(super) count: usize,
    /// The first of them.
    pub(super) first: Option<String>,
    /// What stands under `pvc`; empty when it is not what stands there for a claim.
    pub(super) claim: Option<ClaimSource>,
}

impl Sources {
    pub(super) fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourcesVisitor)
    }
}

struct SourcesVisitor;

impl<'de> Visitor<'de> for SourcesVisitor {
    type Value = Sources;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kinds of sources")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Sources, A::Error> {
        let mut sources = Sources::default();
        while let Some(kind) = entries.next_key::<String>()? {
            let is_there = if kind == "pvc" {
                let raw = entries.next_value::<Option<&serde_json::value::RawValue>>()?;
                sources.claim = raw
                    .map(|raw| serde_json::from_str::<Object<ClaimSource>>(raw.get()).unwrap_or_default().0);
                raw.is_some()
            } else {
                entries.next_value::<Option<IgnoredAny>>()?.is_some()
            };
            if is_there {
                sources.count += 1;
                sources.first.get_or_insert(kind);
            }
        }
        Ok(sources)
    }
}

/// `spec.pvc` or `spec.storage`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClaimShape {
    pub(super) storage_class_name: Option<String>,
    pub(super) access_modes: Option<Modes>,
    resources: Option<Object<Resources>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<Object<Requests>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requests {
    storage: Option<Quantity>,
}

impl ClaimShape {
    /// The size that is asked for, as it was written.
    pub(super) fn requested(&self) -> Option<&str> {
        let requests = self.resources.as_ref()?.0.requests.as_ref()?;
        requests.0.storage.as_ref().map(|Quantity(text)| text.as_str())
    }
}

/// Access modes: the first, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Modes {
    pub(super) first: Option<String>,
    pub(super) count: usize,
}

impl<'de> Deserialize<'de> for Modes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ModesVisitor)
    }
}

struct ModesVisitor;

impl<'de> Visitor<'de> for ModesVisitor {
    type Value = Modes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of access modes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Modes, A::Error> {
        let first = items.next_element::<String>()?;
        let mut count = usize::from(first.is_some());
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Modes { first, count })
    }
}

/// Text, or a bare number.
#[derive(Debug)]
struct Quantity(String);

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
