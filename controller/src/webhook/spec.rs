//! Whether the spec of a DataVolume changes, compared without parsing it completely.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Fields of a spec that may change (docs/protocol.md section 4.2).
const CHANGEABLE: [&str; 2] = ["checkpoints", "finalCheckpoint"];
/// The maximum number of fields that are compared; a spec has a dozen. A spec with more fields must not change at all.
const FIELDS_MAX: usize = 256;
/// Up to this size, a field with different text is parsed to compare its value. The API server serializes both objects
/// in the same way, so this is rarely needed; parsed, this size takes 2 MiB.
const TREE_MAX_BYTES: usize = 64 << 10;

/// Whether `new` equals `old`, except for fields that may change.
pub(super) fn is_same(new: Option<&RawValue>, old: Option<&RawValue>) -> bool {
    let (new, old) = (new.map_or("{}", RawValue::get), old.map_or("{}", RawValue::get));
    if new == old {
        return true;
    }
    let fields = |text| serde_json::from_str::<Fields<'_>>(text).ok();
    let (Some(Fields(new)), Some(Fields(old))) = (fields(new), fields(old)) else { return false };
    new.len() == old.len()
        && new.iter().zip(&old).all(|((new_name, new), (old_name, old))| {
            new_name == old_name && is_same_value(new.get(), old.get())
        })
}

fn is_same_value(new: &str, old: &str) -> bool {
    if new == old {
        return true;
    }
    if new.len().max(old.len()) > TREE_MAX_BYTES {
        return false;
    }
    let parsed = |text| serde_json::from_str::<Value>(text).map(without_nulls).ok();
    // A value that is nested too deeply to parse counts as different.
    parsed(new).is_some_and(|new| Some(new) == parsed(old))
}

/// Null means the same as a missing member.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// The text of the fields that must not change.
struct Fields<'s>(BTreeMap<String, &'s RawValue>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value::<Option<&RawValue>>()?;
            if CHANGEABLE.contains(&name.as_str()) {
                continue;
            }
            fields.extend(value.map(|value| (name, value)));
            if fields.len() > FIELDS_MAX {
                return Err(A::Error::custom("too many fields"));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same_text(new: &str, old: &str) -> bool {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        is_same(Some(&*raw(new)), Some(&*raw(old)))
    }

    #[test]
    fn order_blanks_nulls_and_checkpoints_are_ignored() {
        let old = r#"{"source":{"pvc":{"name":"a","namespace":"b"}},"storage":{"x":[1,2]}}"#;
        for same in [
            r#"{"storage":{"x":[1,2]},"source":{"pvc":{"name":"a","namespace":"b"}}}"#,
            r#"{ "source": {"pvc": {"namespace": "b", "name": "a"}}, "storage": {"x": [1, 2], "y": null}}"#,
            r#"{"checkpoints":[{}],"finalCheckpoint":true,"pvc":null,"source":{"pvc":{"name":"a","namespace":"b"}},"storage":{"x":[1,2]}}"#,
        ] {
            assert!(is_same_text(same, old), "{same}");
        }
        assert!(is_same(None, None));
    }

    #[test]
    fn every_other_change_is_detected() {
        let old = r#"{"source":{"pvc":{"name":"a"}},"storage":{"x":[1,2]}}"#;
        for other in [
            "{}",
            "[]",
            r#"{"source":{"pvc":{"name":"a"}}}"#,
            r#"{"source":{"pvc":{"name":"b"}},"storage":{"x":[1,2]}}"#,
            r#"{"source":{"pvc":{"name":"a"}},"storage":{"x":[2,1]}}"#,
            r#"{"source":{"pvc":{"name":"a"}},"storage":{"x":[1,2]},"more":1}"#,
            r#"{"sources":{"pvc":{"name":"a"}},"storage":{"x":[1,2]}}"#,
        ] {
            assert!(!is_same_text(other, old), "{other}");
        }
    }

    #[test]
    fn a_field_too_large_or_deep_to_parse_must_keep_its_text() {
        let large =
            |blank: &str| format!(r#"{{"storage":{{"x":[{blank}"{}"]}}}}"#, "y".repeat(TREE_MAX_BYTES));
        let deep =
            |blank: &str| format!(r#"{{"storage":{{"x":{blank}{}{}}}}}"#, "[".repeat(1000), "]".repeat(1000));
        let many = |blank: &str| {
            let fields: Vec<String> = (0..=FIELDS_MAX).map(|n| format!(r#""f{n}":{blank}1"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        for (plain, blank) in [(large(""), large(" ")), (deep(""), deep(" ")), (many(""), many(" "))] {
            assert!(is_same_text(&plain, &plain));
            assert!(!is_same_text(&blank, &plain));
        }
        let beside = |checkpoints: &str| format!(r#"{{"checkpoints":{checkpoints},{}"#, &large("")[1..]);
        assert!(is_same_text(&beside("[]"), &beside("[{}]")));
    }
}
