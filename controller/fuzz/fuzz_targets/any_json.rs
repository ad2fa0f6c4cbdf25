//! Any JSON as each kind of object that is read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decant_controller_fuzz::any_json(data));
