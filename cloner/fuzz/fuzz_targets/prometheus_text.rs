//! A metrics page: parsing it whole and looking up one sample give the same result.
#![no_main]

use decant_shared::protocol::prometheus::{find, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Also on a page that does not parse.
    let _ = find(text, &["kubevirt_cdi_clone_progress_total", "clone_progress"], "ownerUID", "uid");
    for sample in parse(text).unwrap_or_default() {
        let Some((label, value)) = sample.labels.first() else { continue };
        assert!(find(text, &[sample.name], label, value).is_some(), "{sample:?}");
    }
});
