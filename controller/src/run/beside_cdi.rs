//! Whether CDI's controller runs in the same cluster. Both would act on the same DataVolumes.

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::api::cluster::{ApiError, Cluster};
use crate::objects::{Key, Kind, decode};

/// The Lease of CDI's controller (`cmd/cdi-controller/controller.go`), in CDI's usual namespace.
const CDI_LEASE: (&str, &str) = ("cdi", "cdi-controller-leader-election-helper");

/// A Lease that was renewed in this time belongs to a running process: CDI's controller renews it every few seconds, and
/// clocks differ by less.
const RECENT: Duration = Duration::seconds(60);

/// What is read of the Lease.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CdiLease {
    spec: CdiLeaseSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CdiLeaseSpec {
    holder_identity: Option<String>,
    renew_time: Option<String>,
}

impl CdiLease {
    fn is_held_at(&self, now: OffsetDateTime) -> bool {
        let renewed = self.spec.renew_time.as_deref();
        let renewed = renewed.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let has_holder = self.spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
        has_holder && renewed.is_some_and(|renewed| now - renewed < RECENT)
    }
}

/// Whether CDI's controller renewed its Lease recently. A Lease that cannot be decoded counts as not renewed.
pub fn is_cdi_active(cluster: &dyn Cluster, now: OffsetDateTime) -> Result<bool, ApiError> {
    match cluster.get(Kind::Lease, &lease_key()) {
        Ok(object) => Ok(decode::<CdiLease>(object).is_ok_and(|lease| lease.is_held_at(now))),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// The key of the Lease of CDI's controller.
pub fn lease_key() -> Key {
    Key::new(CDI_LEASE.0, CDI_LEASE.1)
}

/// Fails if CDI's controller runs. What cannot be read prevents nothing: the Lease may not be readable in an installation
/// with rights in one namespace.
pub(super) fn check(cluster: &dyn Cluster, now: OffsetDateTime) -> Result<(), String> {
    match is_cdi_active(cluster, now) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "CDI's controller runs in this cluster (its Lease {} was renewed recently), and both would act on the same \
             DataVolumes; run this controller with --beside-cdi, or stop CDI first (docs/migrate-from-cdi.md)",
            lease_key()
        )),
        Err(e) => {
            log::debug!("cannot determine whether CDI's controller runs: {e}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn is_held(spec: &Value) -> bool {
        let lease: CdiLease = serde_json::from_value(json!({ "spec": spec })).unwrap();
        lease.is_held_at(OffsetDateTime::parse("2026-01-01T12:00:00Z", &Rfc3339).unwrap())
    }

    #[test]
    fn a_lease_is_held_if_it_has_a_holder_and_was_renewed_recently() {
        assert!(is_held(&json!({ "holderIdentity": "cdi-1", "renewTime": "2026-01-01T11:59:45.123456Z" })));
        for free in [
            json!({ "holderIdentity": "cdi-1", "renewTime": "2026-01-01T11:58:00.000000Z" }),
            json!({ "holderIdentity": "", "renewTime": "2026-01-01T11:59:45.123456Z" }),
            json!({ "holderIdentity": null, "renewTime": null }),
            json!({ "holderIdentity": "cdi-1", "renewTime": "yesterday" }),
        ] {
            assert!(!is_held(&free), "{free}");
        }
    }
}
