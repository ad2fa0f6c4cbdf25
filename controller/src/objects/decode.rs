//! Decodes JSON directly into a view, without a tree in between.
//!
//! A view names the fields that are read. Everything else is skipped by a scanner that does not recurse, so neither
//! its depth nor its size matters. What is read is counted, so that a single object that would fill the memory is
//! refused.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a view may keep of one object, in bytes. The API server accepts 256 KiB of annotations and nothing else of that
/// size. A hundred views of this size are still a small part of the controller's memory.
pub const DECODE_LIMIT_BYTES: usize = 384 << 10;
/// What a number, a list item or a field takes besides its text, in bytes.
const PIECE_BYTES: usize = 48;
/// The most characters of a parser's message that are kept: the message repeats the content of the object.
const WHY_CHARS: usize = 200;
/// The name that serde_json gives to a value that it hands out as text.
const RAW: &str = "$serde_json::private::RawValue";

/// Why an object cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Where in the object, for example `spec.source.pvc`; empty for the object itself.
    pub field: String,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.why),
            field => write!(f, "{field}: {}", self.why),
        }
    }
}

impl std::error::Error for Unreadable {}

/// A source of JSON that a view can be read from.
pub trait Readable {
    /// Reads a view and counts what it keeps.
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error>;
}

impl Readable for RawValue {
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error> {
        self.get().read(reading)
    }
}

impl Readable for str {
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error> {
        let mut text = serde_json::Deserializer::from_str(self);
        let view = T::deserialize(Lenient { inner: &mut text, reading, name_bytes: 0 })?;
        text.end().map(|()| view)
    }
}

impl Readable for Value {
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error> {
        T::deserialize(Lenient { inner: self, reading, name_bytes: 0 })
    }
}

impl<R: Readable + ?Sized> Readable for &R {
    fn read<T: DeserializeOwned>(&self, reading: &DecodeState) -> Result<T, serde_json::Error> {
        (**self).read(reading)
    }
}

/// Reads a view of any size, for one use. A null anywhere is the zero value of its type, as in Kubernetes' own decoder:
/// the API server writes null for times that are not known, for example of a container that was lost.
pub fn decode<T: DeserializeOwned>(object: impl Readable) -> Result<T, Unreadable> {
    decode_within(&object, usize::MAX)
}

/// Reads a view that may keep at most `limit_bytes`.
pub fn decode_within<T: DeserializeOwned>(
    object: &(impl Readable + ?Sized),
    limit_bytes: usize,
) -> Result<T, Unreadable> {
    let reading = DecodeState { left: Cell::new(limit_bytes), limit_bytes, path: RefCell::default() };
    object.read(&reading).map_err(|e| reading.unreadable(&e))
}

/// How much was kept so far, and where decoding failed.
#[derive(Debug)]
pub struct DecodeState {
    left: Cell<usize>,
    limit_bytes: usize,
    /// From the innermost field outwards; filled in while an error is returned.
    path: RefCell<Vec<String>>,
}

impl DecodeState {
    fn keep<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "it holds more than {} KiB that would have to be kept",
                self.limit_bytes >> 10
            ))),
        }
    }

    fn failed_in(&self, step: String) {
        self.path.borrow_mut().push(step);
    }

    fn unreadable(&self, error: &serde_json::Error) -> Unreadable {
        let mut field = String::new();
        for step in self.path.borrow().iter().rev() {
            if !field.is_empty() && !step.starts_with('[') {
                field.push('.');
            }
            field.extend(step.chars().take(WHY_CHARS));
        }
        let text = error.to_string();
        // The position refers to the API server's response, which the user does not see.
        let text = if error.is_data() {
            text.rsplit_once(" at line ").map_or(&*text, |(why, _)| why)
        } else {
            &text
        };
        Unreadable { field, why: text.chars().take(WHY_CHARS).collect() }
    }
}

/// A deserializer that counts what is kept, reads null as the zero value, and remembers where it failed.
struct Lenient<'r, D> {
    inner: D,
    reading: &'r DecodeState,
    /// The size of the name of the field or entry, which is kept with its value.
    name_bytes: usize,
}

impl<D> Lenient<'_, D> {
    fn keep<E: Error>(&self) -> Result<(), E> {
        self.reading.keep(PIECE_BYTES.saturating_add(self.name_bytes))
    }
}

/// The value that null is read as.
#[derive(Clone, Copy)]
enum Zero {
    Null,
    Bool,
    Number,
    Text,
    List,
    Map,
}

/// Deserializes a value of any type, so that null is seen. The visitor refuses what it does not expect.
macro_rules! whatever_is_there {
    ($($method:ident => $zero:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.keep()?;
            self.inner.deserialize_any(Counting { visitor, zero: Zero::$zero, reading: self.reading })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<'_, D> {
    type Error = D::Error;

    whatever_is_there! {
        deserialize_any => Null,
        deserialize_bool => Bool,
        deserialize_i8 => Number,
        deserialize_i16 => Number,
        deserialize_i32 => Number,
        deserialize_i64 => Number,
        deserialize_u8 => Number,
        deserialize_u16 => Number,
        deserialize_u32 => Number,
        deserialize_u64 => Number,
        deserialize_f32 => Number,
        deserialize_f64 => Number,
        deserialize_char => Text,
        deserialize_str => Text,
        deserialize_string => Text,
        deserialize_bytes => Null,
        deserialize_byte_buf => Null,
        deserialize_unit => Null,
        deserialize_seq => List,
        deserialize_map => Map,
        deserialize_identifier => Text,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.keep()?;
        self.inner.deserialize_option(Counting { visitor, zero: Zero::Null, reading: self.reading })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.keep()?;
        if name == RAW {
            return self.inner.deserialize_newtype_struct(name, visitor);
        }
        let visitor = Counting { visitor, zero: Zero::Null, reading: self.reading };
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.keep()?;
        self.inner.deserialize_enum(name, variants, visitor)
    }

    /// Nothing is kept, and nothing recurses.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }
}

struct Counting<'r, V> {
    visitor: V,
    zero: Zero,
    reading: &'r DecodeState,
}

macro_rules! pass_on {
    ($($method:ident: $kind:ty,)*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Counting<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    pass_on! {
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_f64: f64,
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.reading.keep(text.len())?;
        self.visitor.visit_str(text)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        self.reading.keep(text.len())?;
        self.visitor.visit_borrowed_str(text)
    }

    fn visit_string<E: Error>(self, text: String) -> Result<V::Value, E> {
        self.reading.keep(text.len())?;
        self.visitor.visit_string(text)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Lenient { inner, reading: self.reading, name_bytes: 0 })
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        match self.zero {
            Zero::Null => self.visitor.visit_unit(),
            Zero::Bool => self.visitor.visit_bool(false),
            Zero::Number => self.visitor.visit_u64(0),
            Zero::Text => self.visitor.visit_str(""),
            Zero::List => self.visitor.visit_seq(Nothing(std::marker::PhantomData)),
            Zero::Map => self.visitor.visit_map(Nothing(std::marker::PhantomData)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Lenient { inner, reading: self.reading, name_bytes: 0 })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        // A derived view also accepts a list of its fields' values, which Kubernetes never sends.
        if matches!(self.zero, Zero::Map) {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self.visitor));
        }
        self.visitor.visit_seq(Items { inner, reading: self.reading, at: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Entries { inner, reading: self.reading, name: String::new() })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(inner)
    }
}

/// The empty list or map that null is read as.
struct Nothing<E>(std::marker::PhantomData<E>);

impl<'de, E: Error> SeqAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, E> {
        Ok(None)
    }
}

impl<'de, E: Error> MapAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<S::Value, E> {
        Err(E::custom("there is no value"))
    }
}

struct Seed<'r, S> {
    seed: S,
    reading: &'r DecodeState,
    name_bytes: usize,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Lenient { inner, reading: self.reading, name_bytes: self.name_bytes })
    }
}

struct Items<'r, A> {
    inner: A,
    reading: &'r DecodeState,
    at: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let at = self.at;
        self.at = at.saturating_add(1);
        let seed = Seed { seed, reading: self.reading, name_bytes: 0 };
        self.inner.next_element_seed(seed).inspect_err(|_| self.reading.failed_in(format!("[{at}]")))
    }
}

struct Entries<'r, A> {
    inner: A,
    reading: &'r DecodeState,
    name: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        match self.inner.next_key::<String>()? {
            Some(name) => {
                self.name = name;
                seed.deserialize(StrDeserializer::<A::Error>::new(&self.name)).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Seed { seed, reading: self.reading, name_bytes: self.name.len() };
        self.inner.next_value_seed(seed).inspect_err(|_| self.reading.failed_in(self.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Claim, DataSource, DataVolume, Pod};
    use serde_json::json;

    /// Objects nested `levels` deep.
    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn a_list_is_no_object() {
        assert!(decode::<crate::objects::data_volume::ClaimSource>(json!({ "name": "a" })).is_ok());
        assert!(decode::<crate::objects::data_volume::ClaimSource>(json!(["a", "b"])).is_err());
        assert!(decode::<crate::objects::data_volume::ClaimSource>(json!([])).is_err());
    }

    #[test]
    fn a_container_that_was_lost_has_ended_at_an_unknown_time() {
        let ended = json!({ "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null });
        let statuses =
            json!([{ "name": "c", "ready": null, "state": { "terminated": ended, "running": null } }]);
        let pod: Pod =
            decode(json!({ "metadata": null, "status": { "podIP": null, "containerStatuses": statuses } }))
                .unwrap();
        let status = &pod.status.container_statuses[0];
        let ended = status.state.terminated.as_ref().unwrap();
        assert_eq!((ended.exit_code, ended.finished_at.as_str()), (137, ""));
        assert_eq!((status.ready, &status.state.running), (false, &None));
    }

    #[test]
    fn null_is_the_zero_value_of_every_field_that_is_read() {
        let text = r#"{"metadata":{"name":"a","uid":null,"labels":null,"ownerReferences":null,"finalizers":null},
            "spec":{"accessModes":null,"storageClassName":null,"volumeMode":null,"resources":{"requests":{"storage":null}}},"status":null}"#;
        let claim: Claim = decode(text).unwrap();
        let plain: Claim = decode(r#"{"metadata":{"name":"a"}}"#).unwrap();
        assert_eq!(claim, plain);
    }

    #[test]
    fn ten_thousand_levels_under_a_field_that_is_not_read_do_not_matter() {
        let deep = nested(10_000);
        for spec in [
            format!(
                r#"{{"x":{deep},"source":{{"pvc":{{"namespace":"n","name":"s","x":{deep}}},"x":null}}}}"#
            ),
            format!(r#"{{"source":{{"http":{deep}}}}}"#),
            format!(r#"{{"storage":{{"x":{deep}}}}}"#),
        ] {
            let text =
                format!(r#"{{"metadata":{{"name":"a","x":{deep}}},"spec":{spec},"status":{{"x":{deep}}}}}"#);
            let dv: DataVolume = decode_within(text.as_str(), DECODE_LIMIT_BYTES).unwrap();
            assert_eq!(dv.metadata.name, "a");
        }
        let text =
            format!(r#"{{"metadata":{{"name":"d"}},"spec":{{"source":{{"snapshot":{deep}}},"x":{deep}}}}}"#);
        let source: DataSource = decode_within(text.as_str(), DECODE_LIMIT_BYTES).unwrap();
        assert!(source.spec.source.snapshot.is_some());
    }

    #[test]
    fn ten_thousand_levels_where_a_text_is_expected_are_refused_by_name() {
        let text = format!(r#"{{"metadata":{{"annotations":{{"x":{}}}}}}}"#, nested(10_000));
        let error = decode::<DataVolume>(text.as_str()).unwrap_err();
        assert_eq!(error.field, "metadata.annotations.x");
        assert!(error.why.contains("expected a string"), "{error}");
    }

    #[test]
    fn an_error_names_the_field_and_not_a_position_in_the_answer() {
        let pod = json!({ "spec": { "containers": [{ "name": "a" }, { "ports": [{ "containerPort": 70_000 }] }] } });
        let error = decode::<Pod>(&pod).unwrap_err();
        assert_eq!(error.field, "spec.containers[1].ports[0].containerPort");
        let error = decode::<Pod>(pod.to_string().as_str()).unwrap_err();
        assert!(error.to_string().ends_with("expected u16"), "{error}");
    }

    #[test]
    fn an_error_repeats_little_of_what_the_object_says() {
        let long = "x".repeat(1 << 20);
        let error = decode::<Pod>(json!({ "spec": { "containers": long } })).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn what_would_have_to_be_kept_is_bounded_and_what_is_skipped_is_not() {
        let many = format!("[{}]", vec!["{}"; 460_000].join(","));
        let skipped = format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"storage":{{"l":{many}}}}}}}"#);
        assert!(decode_within::<DataVolume>(skipped.as_str(), DECODE_LIMIT_BYTES).is_ok());
        for kept in [
            format!(r#"{{"status":{{"conditions":{many}}}}}"#),
            json!({ "metadata": { "finalizers": ["x".repeat(DECODE_LIMIT_BYTES)] } }).to_string(),
            json!({ "metadata": { "labels": { "x".repeat(DECODE_LIMIT_BYTES): "" } } }).to_string(),
        ] {
            let error = decode_within::<DataVolume>(kept.as_str(), DECODE_LIMIT_BYTES).unwrap_err();
            assert!(error.why.contains("would have to be kept"), "{error}");
        }
    }

    #[test]
    fn the_annotations_that_the_api_server_takes_are_kept() {
        let annotations: std::collections::BTreeMap<String, String> =
            (0..256).map(|number| (format!("n{number}"), "x".repeat(1000))).collect();
        let text = json!({ "metadata": { "annotations": annotations } }).to_string();
        let dv: DataVolume = decode_within(text.as_str(), DECODE_LIMIT_BYTES).unwrap();
        assert_eq!(dv.metadata.annotations, annotations);
    }

    #[test]
    fn text_and_tree_give_the_same_view() {
        let object = json!({ "metadata": { "name": "a", "labels": { "l": "1" } },
                             "spec": { "source": { "pvc": { "namespace": "n", "name": "s" } }, "pvc": {} } });
        assert_eq!(decode::<DataVolume>(&object), decode::<DataVolume>(object.to_string().as_str()));
    }
}
