//! Parts of objects that are looked at rarely: kept as text, which takes a tenth of the parsed tree.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

/// A JSON object as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(Box<str>);

impl Packed {
    /// The object, parsed.
    pub fn value(&self) -> Value {
        // It was made of a value.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if !value.is_object() {
            return Err(D::Error::custom(format!("expected an object, got {value}")));
        }
        Ok(Self(value.to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_packed_comes_out_again_and_only_objects_are() {
        let object = json!({ "pvc": { "name": "a", "n": null, "list": [1, "2"] } });
        let packed: Packed = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(packed.value(), object);
        assert!(serde_json::from_value::<Packed>(json!("golden")).is_err());
    }
}
