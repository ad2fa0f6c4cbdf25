//! A new bandwidth limit reaches a clone whose data waits because of the previous one.

use std::sync::Arc;

use decant_shared::protocol::limit_order::{KEY_VARIABLE, LimitOrder, LimitSigner, POD_UID_VARIABLE};
use decant_test_support::HANG;
use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::modes::{Mode, Volumes};
use crate::pair::{CloneProcess, assert_both_succeed};

/// At this limit the data takes days.
const LOWEST: &str = "4096";

fn signer() -> LimitSigner {
    LimitSigner::from_seed(&[9; 32]).unwrap()
}

/// Ends the limit of a clone that has begun to wait.
fn release(clone: &CloneProcess) {
    let line = clone.wait_for_line("metrics on https://");
    let port = line.trim_end_matches("/metrics").rsplit(':').next().unwrap().to_owned();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().disable_verification(true).unversioned_rustls_crypto_provider(provider);
    let config = Agent::config_builder().tls_config(tls.build()).proxy(None).timeout_global(Some(HANG));
    let agent: Agent = config.build().into();
    let get = |query: &str| {
        let mut answer = agent.get(format!("https://127.0.0.1:{port}/metrics{query}")).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    };
    let waits = |page: String| {
        let samples = page.lines().filter_map(|line| line.strip_prefix("decant_limit_wait_seconds_total "));
        samples.map(|value| value.parse::<f64>().unwrap()).any(|secs| secs > 0.0)
    };
    decant_test_support::until("the data waits", || waits(get("")));
    get(&format!("?{}", LimitOrder { sequence: 1, limit: None }.query("pod", &signer())));
}

#[test]
fn a_direct_clone_that_waits_continues_when_its_limit_ends() {
    let Some(volumes) = Volumes::new(Mode::Disk) else { return };
    let key = signer().public_key();
    let clone = volumes.pair.direct_with(LOWEST, &[(KEY_VARIABLE, &key), (POD_UID_VARIABLE, "pod")]);
    release(&clone);
    clone.assert_success();
    volumes.assert_same();
}

#[test]
fn a_network_clone_that_waits_continues_when_its_limit_ends() {
    let Some(volumes) = Volumes::new(Mode::Disk) else { return };
    let key = signer().public_key();
    let target = volumes.pair.target();
    let source = volumes.pair.source_with(LOWEST, &[(KEY_VARIABLE, &key), (POD_UID_VARIABLE, "pod")]);
    release(&source);
    assert_both_succeed(source, target);
    volumes.assert_same();
}
