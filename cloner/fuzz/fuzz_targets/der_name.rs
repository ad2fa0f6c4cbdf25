//! The common name: in a certificate, and in the bytes of a subject. The end of a certificate.
#![no_main]

use decant_shared::net::tls::common_name::{common_name, common_names};
use decant_shared::net::tls::validity::{not_after, rfc3339};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;

fuzz_target!(|bytes: &[u8]| {
    if let Some(names) = common_names(bytes) {
        assert!(names.iter().map(String::len).sum::<usize>() <= bytes.len());
    }
    let certificate = CertificateDer::from(bytes);
    let _ = common_name(&certificate);
    let _ = not_after(&certificate).map(rfc3339);
});
