//! Why a connection ended.

use std::fmt;
use std::time::Duration;

use crate::process::stop::StopReason;

/// Why a connection ended.
#[derive(Debug)]
pub enum Fault {
    /// Nothing moved for this long while doing this.
    TimedOut(&'static str, Duration),
    /// The peer closed or reset the connection, or vanished.
    HungUp(String),
    /// TLS says no: trust, alerts, damaged records.
    Tls(rustls::Error),
    /// The stop token was set.
    Stopped(StopReason),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TimedOut(doing, limit) => {
                write!(f, "no progress for {} s during the {doing}", limit.as_secs())
            }
            Fault::HungUp(why) => write!(f, "the peer hung up ({why})"),
            Fault::Tls(error) => write!(f, "TLS: {error}"),
            Fault::Stopped(_) => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Fault {}
