//! Parts of an object that may be invalid without making the whole object unreadable.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::value::RawValue;

use crate::objects::decode::{Unreadable, decode_within};

/// What a part may keep, in bytes. A claim's spec has a few hundred.
const PART_LIMIT_BYTES: usize = 16 << 10;

/// A part of an object: its value, or why it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<T>(pub Result<T, Unreadable>);

impl<T> Checked<T> {
    /// Its value, if it can be read.
    pub fn good(&self) -> Option<&T> {
        self.0.as_ref().ok()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(decode_within(&*text, PART_LIMIT_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    type Part = Option<Checked<BTreeMap<String, u8>>>;

    #[test]
    fn a_part_is_read_or_says_why_not() {
        let part = |value| serde_json::from_value::<Part>(value).unwrap();
        assert_eq!(part(json!(null)), None);
        assert_eq!(part(json!({ "a": 1 })).unwrap().good().unwrap()["a"], 1);
        assert_eq!(part(json!({ "a": "x" })).unwrap().0.unwrap_err().field, "a");
        assert!(part(json!("golden")).unwrap().0.unwrap_err().why.contains("expected a map"));
    }

    #[test]
    fn a_part_that_is_too_long_is_not_kept() {
        let part: Part = serde_json::from_value(json!({ "x".repeat(PART_LIMIT_BYTES): 1 })).unwrap();
        assert!(part.unwrap().0.is_err());
    }
}
