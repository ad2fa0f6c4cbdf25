//! An object as the API server sent it.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::objects::decode::{DecodeState, Readable};
use crate::objects::lean::Lean;

/// An object as text, from which views are read. Objects of one list share the text of its page.
#[derive(Debug, Clone)]
pub struct Object {
    text: Arc<String>,
    at: Range<usize>,
}

impl Object {
    /// The object whose text is the slice `part` of `text`; a copy of `part` if it is not a slice of `text`.
    pub(crate) fn within(text: &Arc<String>, part: &RawValue) -> Self {
        let part = part.get();
        let begin = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let at = begin..begin.wrapping_add(part.len());
        match text.get(at.clone()) {
            Some(found) if found.len() == part.len() => Self { text: Arc::clone(text), at },
            _ => Self::of(part.to_owned()),
        }
    }

    fn of(text: String) -> Self {
        Self { at: 0..text.len(), text: Arc::new(text) }
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.text.get(self.at.clone()).unwrap_or_default()
    }

    /// The whole object as a tree, without `managedFields`, `kubectl`'s copy, and levels that are nested too deeply
    /// (see `lean.rs`). Only for objects whose size users cannot choose.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.text()).map(|Lean(value)| value).unwrap_or_default()
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self::of(value.to_string())
    }
}

impl TryFrom<Vec<u8>> for Object {
    type Error = String;

    /// Reads the API server's response about one object. The error describes why it is not JSON.
    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
        serde_json::from_str::<&RawValue>(&text).map_err(|e| e.to_string())?;
        Ok(Self::of(text))
    }
}

impl Readable for Object {
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error> {
        self.text().read(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_of_a_list_share_its_text() {
        let text = Arc::new(r#"{"items": [{"a":1}, {"b":2}]}"#.to_owned());
        let list: std::collections::BTreeMap<&str, Vec<&RawValue>> = serde_json::from_str(&text).unwrap();
        let objects: Vec<Object> = list["items"].iter().map(|item| Object::within(&text, item)).collect();
        assert_eq!((objects[0].text(), objects[1].value()), (r#"{"a":1}"#, json!({ "b": 2 })));
        assert_eq!(Arc::strong_count(&text), 3);
    }

    #[test]
    fn a_part_of_another_text_is_copied() {
        let other: Box<RawValue> = serde_json::from_str(r#"{"a":1}"#).unwrap();
        assert_eq!(Object::within(&Arc::new("x".to_owned()), &other).text(), r#"{"a":1}"#);
    }

    #[test]
    fn an_answer_that_is_no_json_is_no_object() {
        assert!(Object::try_from(b"<html>".to_vec()).is_err());
        assert!(Object::try_from(vec![0xff]).is_err());
        assert!(Object::try_from(b"{}".to_vec()).is_ok());
    }
}
