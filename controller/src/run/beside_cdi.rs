//! Whether CDI's controller runs in the same cluster. Both would act on the same DataVolumes.

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::api::cluster::Cluster;
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

/// Fails if CDI's controller renewed its Lease recently. What cannot be read prevents nothing: the Lease may not exist,
/// or not be readable in an installation with rights in one namespace.
pub(super) fn check(cluster: &dyn Cluster, now: OffsetDateTime) -> Result<(), String> {
    let (namespace, name) = CDI_LEASE;
    let key = Key::new(namespace, name);
    let lease = match cluster.get(Kind::Lease, &key) {
        Ok(object) => decode::<CdiLease>(object),
        Err(e) => {
            if !e.is_not_found() {
                log::debug!("cannot determine whether CDI's controller runs: {e}");
            }
            return Ok(());
        }
    };
    match lease {
        Ok(lease) if lease.is_held_at(now) => Err(format!(
            "CDI's controller runs in this cluster (its Lease {key} was renewed recently), and both would act on the same \
             DataVolumes; run this controller with --beside-cdi, or stop CDI first (docs/migrate-from-cdi.md)"
        )),
        _ => Ok(()),
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
