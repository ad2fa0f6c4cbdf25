//! The Lease object.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, UtcOffset};

use crate::objects::{Key, Kind, Meta, Readable, Unreadable, decode};

/// How long a Lease is valid without a renewal.
pub const LEASE_DURATION: Duration = Duration::from_secs(12);
/// The minimum duration; with zero, every process could always take the Lease.
const MIN_DURATION: Duration = Duration::from_secs(1);

/// The fields of a Lease that are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// The holder; empty if there is none.
    pub holder: String,
    /// How long it is valid without a renewal, from its holder.
    pub duration: Duration,
    /// How often the holder changed.
    pub transitions: i64,
    /// Since when the holder has it; for users.
    pub acquired: String,
    /// The resource version; empty for a new Lease.
    pub version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LeaseObject {
    metadata: Meta,
    spec: LeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: String,
    lease_duration_seconds: Option<i64>,
    lease_transitions: i64,
    acquire_time: String,
}

impl Lease {
    /// From an object of the API server. An impossible duration counts as missing.
    pub fn from_object(object: &impl Readable) -> Result<Self, Unreadable> {
        let LeaseObject { metadata, spec } = decode(object)?;
        let secs = spec.lease_duration_seconds.and_then(|secs| u64::try_from(secs).ok());
        Ok(Self {
            holder: spec.holder_identity,
            duration: secs.map_or(LEASE_DURATION, Duration::from_secs).max(MIN_DURATION),
            transitions: spec.lease_transitions,
            acquired: spec.acquire_time,
            version: metadata.resource_version,
        })
    }

    /// The object to write; the write fails if the version has changed.
    pub fn to_object(&self, key: &Key, now: OffsetDateTime) -> Value {
        let mut metadata = Map::new();
        metadata.insert("namespace".to_owned(), key.namespace.as_str().into());
        metadata.insert("name".to_owned(), key.name.as_str().into());
        if !self.version.is_empty() {
            metadata.insert("resourceVersion".to_owned(), self.version.as_str().into());
        }
        json!({
            "apiVersion": Kind::Lease.api_version(),
            "kind": Kind::Lease.name(),
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.duration.as_secs(),
                "leaseTransitions": self.transitions,
                "acquireTime": self.acquired,
                "renewTime": micro_time(now),
            },
        })
    }
}

/// `MicroTime` of Kubernetes: RFC 3339 in UTC with exactly six decimal places.
pub(super) fn micro_time(now: OffsetDateTime) -> String {
    let now = now.to_offset(UtcOffset::UTC);
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, micro) = now.to_hms_micro();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_six_decimal_places() {
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_042_999).unwrap();
        assert_eq!(micro_time(now), "2023-11-14T22:13:20.000042Z");
    }

    #[test]
    fn a_written_lease_is_read_back() {
        let lease = Lease {
            holder: "me".to_owned(),
            duration: LEASE_DURATION,
            transitions: 3,
            acquired: "2023-11-14T22:13:20.000042Z".to_owned(),
            version: "7".to_owned(),
        };
        let object = lease.to_object(&Key::new("n", "a"), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(Lease::from_object(&object), Ok(lease));
    }

    #[test]
    fn an_impossible_duration_is_the_default_and_an_invalid_lease_is_an_error() {
        let spec = |spec: Value| Lease::from_object(&json!({ "spec": spec }));
        assert_eq!(spec(json!({ "leaseDurationSeconds": -5 })).unwrap().duration, LEASE_DURATION);
        assert_eq!(spec(json!({ "holderIdentity": {} })).unwrap_err().field, "spec.holderIdentity");
    }

    #[test]
    fn a_lease_has_a_minimum_duration() {
        let object = json!({ "spec": { "holderIdentity": "x", "leaseDurationSeconds": 0 } });
        assert_eq!(Lease::from_object(&object).unwrap().duration, MIN_DURATION);
    }
}
