//! Values that have to be JSON objects: a derived `Deserialize` also accepts a list with the values in the order of the
//! fields.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` from a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strict<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictVisitor(PhantomData)).map(Strict)
    }
}

struct StrictVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for StrictVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::data_volume::ClaimSource;

    #[test]
    fn a_list_is_not_an_object() {
        assert!(serde_json::from_str::<Strict<ClaimSource>>(r#"{"name":"a"}"#).is_ok());
        assert!(serde_json::from_str::<Strict<ClaimSource>>(r#"["a","b"]"#).is_err());
    }
}
