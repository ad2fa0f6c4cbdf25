//! Any bytes as an `AdmissionReview`: both webhooks answer with JSON, or say why it is none.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decant_controller_fuzz::review(data));
