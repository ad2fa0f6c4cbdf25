//! Unknown clients hold connections to the target while its source connects, is cut off, and reconnects.

use decant_test_support::flood::{Flood, Sources};
use decant_test_support::relay::Break;

use crate::kills::FAST;
use crate::modes::{Mode, Volumes};
use crate::pair::assert_both_succeed;

#[test]
fn a_clone_starts_and_resumes_during_a_flood_of_connections() {
    let Some(volumes) = Volumes::new(Mode::DeviceToDirectory) else { return };
    volumes.break_at(60, Break::Cut);
    let target = volumes.pair.target();
    let port = volumes.relay().target_port();
    // Half a TLS record header: a connection without any byte does not even get a thread.
    let _flood = Flood::start(port, 500, Sources::ManyAddresses, b"\x16\x03\x01\x02\x00");
    let log = assert_both_succeed(volumes.pair.source(FAST), target);
    assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
    volumes.assert_same();
}
