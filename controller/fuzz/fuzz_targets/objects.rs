//! Changes in the objects of a clone: decoding, observation, decision, construction of objects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decant_controller_fuzz::objects(data));
