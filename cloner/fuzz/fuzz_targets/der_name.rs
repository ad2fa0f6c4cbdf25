//! The common name: in a certificate, and in the bytes of a subject.
#![no_main]

use decant_shared::tls::name::{common_name, common_names};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;

fuzz_target!(|bytes: &[u8]| {
    if let Some(names) = common_names(bytes) {
        assert!(names.iter().map(String::len).sum::<usize>() <= bytes.len());
    }
    let _ = common_name(&CertificateDer::from(bytes));
});
