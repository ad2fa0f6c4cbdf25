//! Parts of objects that are looked at rarely: kept as text, which takes a tenth of the parsed tree. No tree is built to
//! get the text either, so neither depth nor size of what is in there matters before it is read.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON object as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(Box<str>);

impl Packed {
    /// The object in `raw`; `None` when it is something else.
    pub fn new(raw: &RawValue) -> Option<Self> {
        raw.get().starts_with('{').then(|| Self(raw.get().into()))
    }

    /// The object, parsed.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The object as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::new(&raw).ok_or_else(|| D::Error::custom("expected an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_packed_comes_out_again_and_only_objects_are() {
        let object = json!({ "pvc": { "name": "a", "n": null, "list": [1, "2"] } });
        for packed in [serde_json::from_value(object.clone()), serde_json::from_str(&object.to_string())] {
            let packed: Packed = packed.unwrap();
            assert_eq!(packed.value(), object);
        }
        assert!(serde_json::from_value::<Packed>(json!("golden")).is_err());
        assert!(serde_json::from_str::<Packed>(" [{}]").is_err());
    }

    #[test]
    fn depth_does_not_matter_before_it_is_read() {
        let text = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(serde_json::from_str::<Packed>(&text).unwrap().text(), text);
    }
}
