//! The cases of `controller/tests/any_json`, for the fuzzer.
#![forbid(unsafe_code)]

#[path = "../../tests/any_json/bytes.rs"]
mod bytes;
#[path = "../../tests/any_json/world.rs"]
mod world;

/// Changes in the objects of a clone, through whole rounds.
pub fn objects(data: &[u8]) {
    world::case(data);
}

/// Any JSON as each kind of object.
pub fn any_json(data: &[u8]) {
    world::raw(bytes::Bytes::new(data).json(12).to_string().as_bytes());
}

/// Any bytes as each kind of object.
pub fn raw_object(data: &[u8]) {
    world::raw(data);
}
