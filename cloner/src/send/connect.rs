//! A connection to the target.

use std::io::ErrorKind;

use decant_shared::net::conn::Conn;
use decant_shared::net::dial;
use decant_shared::process::stop::Stop;

use crate::error::{Error, Kind, Result};
use crate::send::answer::explain;
use crate::send::source::Source;

/// Connects and completes the handshake. Everything that may be different in a moment (nobody listens yet,
/// the name is not known yet, a proxy hangs up) is [`Kind::Unreachable`].
pub(super) fn connect(source: &Source, stop: &Stop) -> Result<Conn> {
    let (url, timeouts) = (&source.url, source.timeouts);
    let socket = dial::connect(&url.host, url.port, timeouts.connect, stop).map_err(|cause| {
        match (cause.kind(), stop.reason()) {
            (ErrorKind::Interrupted, Some(reason)) => Error::stopped(reason),
            _ => {
                Error::io(Kind::Unreachable, format!("cannot reach the target at {}", url.authority()), cause)
            }
        }
    })?;
    let unreachable = |fault| {
        let error = explain(fault, url);
        match error.kind() {
            Kind::HungUp | Kind::Stalled => Error::new(Kind::Unreachable, error.to_string()),
            _ => error,
        }
    };
    // Each connection looks for renewed keys: the clone may be older than those that it began with.
    let mut conn =
        Conn::client(socket, source.tls.current(), url.server_name()?, stop.clone()).map_err(unreachable)?;
    conn.handshake(timeouts.handshake).map_err(unreachable)?;
    Ok(conn)
}
