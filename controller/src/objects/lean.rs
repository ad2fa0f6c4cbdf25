//! Whole objects as trees, without the parts that Decant never reads.
//!
//! `managedFields` and kubectl's copy of the object are often two thirds of an object. They are skipped while parsing,
//! so they never take memory. Do not use these trees for objects that are written back. Lists and watches use views
//! instead.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Keys that are skipped at every level.
const SKIPPED: [&str; 2] = ["managedFields", "kubectl.kubernetes.io/last-applied-configuration"];

/// Levels that are kept. Kubernetes' own objects have about ten; custom objects can have any number.
const DEPTH: usize = 64;

/// Any JSON value without the skipped keys, and with null for what is nested deeper than [`DEPTH`].
#[derive(Debug, Default)]
pub(crate) struct Lean(pub(crate) Value);

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(DEPTH).deserialize(deserializer).map(Lean)
    }
}

/// How many more levels are kept.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 == 0 {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(Level(self.0.saturating_sub(1)))? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if SKIPPED.contains(&name.as_str()) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let value = entries.next_value_seed(Level(self.0.saturating_sub(1)))?;
                out.insert(name, value);
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn managed_fields_and_the_last_applied_object_are_left_out() {
        let text = json!({ "metadata": {
            "name": "a",
            "managedFields": [{ "fieldsV1": { "f:metadata": {} } }],
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1" },
        }});
        let Lean(lean) = serde_json::from_str(&text.to_string()).unwrap();
        assert_eq!(lean, json!({ "metadata": { "name": "a", "annotations": { "mine": "1" } } }));
    }

    #[test]
    fn what_is_nested_too_deeply_is_null() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        let Lean(lean) = serde_json::from_str(&deep).unwrap();
        let pointer = "/a".repeat(DEPTH);
        assert_eq!(lean.pointer(&pointer), Some(&Value::Null));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e6_f64..1e6).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_else_is_as_it_was(value in any_json()) {
            let text = value.to_string();
            let plain: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Lean>(&text).unwrap().0, plain);
        }
    }
}
