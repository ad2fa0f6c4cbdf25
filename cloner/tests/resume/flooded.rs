//! Strangers hold connections to the target while its source comes, loses its connection, and comes again.

use std::net::TcpStream;
use std::time::Duration;

use crate::flood::{Flood, Sources};
use crate::kills::FAST;
use crate::modes::{Mode, Volumes};
use crate::pair::both_well;
use crate::relay::Break;

#[test]
fn a_clone_begins_and_goes_on_after_a_cut_while_strangers_hold_connections() {
    let Some(volumes) = Volumes::new(Mode::DeviceToFolder) else { return };
    volumes.break_at(60, Break::Cut);
    let target = volumes.pair.target();
    while TcpStream::connect(("127.0.0.1", volumes.pair.port())).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Half a head of TLS: what only says nothing does not even get a thread.
    let _flood = Flood::begin(volumes.pair.port(), 500, Sources::ManyAddresses, b"\x16\x03\x01\x02\x00");
    let log = both_well(volumes.pair.source(FAST), target);
    assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
    volumes.assert_same();
}
