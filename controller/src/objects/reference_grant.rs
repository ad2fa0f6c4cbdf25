//! ReferenceGrants of the Gateway API: the consent of a namespace to references from other namespaces.

use serde::Deserialize;

use crate::objects::{Checked, ClonedKind, Key, Kind, Meta};

/// What is read of a ReferenceGrant.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReferenceGrant {
    /// Metadata.
    pub metadata: Meta,
    /// Its entries. A grant with an entry that cannot be read allows nothing.
    pub spec: Option<Checked<ReferenceGrantSpec>>,
}

/// The entries of a ReferenceGrant. Each object of `from` may refer to each object of `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Which objects may refer.
    pub from: Vec<GrantFrom>,
    /// Which objects of the grant's namespace they may refer to.
    pub to: Vec<GrantTo>,
}

/// The objects that may refer: all of a kind in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GrantFrom {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace. The Gateway API knows no wildcard.
    pub namespace: String,
}

/// The objects that may be referred to: all of a kind, or one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GrantTo {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name; `None` for all names.
    #[serde(default)]
    pub name: Option<String>,
}

impl ReferenceGrant {
    /// Whether the CloneSources of `namespace` may refer to `source`, which is of `kind`. A grant counts only for objects
    /// of its own namespace, and not while it is being deleted.
    pub fn allows_clone(&self, source: &Key, kind: ClonedKind, namespace: &str) -> bool {
        if self.metadata.namespace != source.namespace || self.metadata.is_deleting() || namespace.is_empty()
        {
            return false;
        }
        let Some(spec) = self.spec.as_ref().and_then(Checked::good) else { return false };
        let is_from = |from: &GrantFrom| {
            from.group == Kind::CloneSource.group()
                && from.kind == Kind::CloneSource.name()
                && from.namespace == namespace
        };
        let is_to = |to: &GrantTo| {
            to.group == kind.kind().group()
                && to.kind == kind.kind().name()
                && to.name.as_ref().is_none_or(|name| *name == source.name)
        };
        spec.from.iter().any(is_from) && spec.to.iter().any(is_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects;
    use serde_json::{Value, json};

    fn grant(from: &Value, to: &Value) -> Value {
        json!({ "metadata": { "namespace": "images", "name": "g" }, "spec": { "from": from, "to": to } })
    }

    fn from(namespace: &str) -> Value {
        json!({ "group": "decant.dev", "kind": "CloneSource", "namespace": namespace })
    }

    fn claims() -> Value {
        json!({ "group": "", "kind": "PersistentVolumeClaim" })
    }

    /// Whether the grant allows CloneSources of `team` to clone `images/golden`.
    fn allows(object: &Value) -> bool {
        allows_kind(object, ClonedKind::Claim)
    }

    fn allows_kind(object: &Value, kind: ClonedKind) -> bool {
        let grant: ReferenceGrant =
            objects::decode(objects::Object::from(object.clone())).unwrap_or_default();
        grant.allows_clone(&Key::new("images", "golden"), kind, "team")
    }

    #[test]
    fn a_grant_allows_the_clone_sources_of_a_namespace_all_claims_or_one() {
        assert!(allows(&grant(&json!([from("team")]), &json!([claims()]))));
        let one = json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "golden" });
        assert!(allows(&grant(&json!([from("team")]), &json!([one]))));
    }

    #[test]
    fn a_grant_of_snapshots_allows_no_claims_and_the_other_way_round() {
        let snapshots = json!({ "group": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot" });
        let of_snapshots = grant(&json!([from("team")]), &json!([snapshots]));
        assert!(allows_kind(&of_snapshots, ClonedKind::Snapshot));
        assert!(!allows_kind(&of_snapshots, ClonedKind::Claim));
        let of_claims = grant(&json!([from("team")]), &json!([claims()]));
        assert!(!allows_kind(&of_claims, ClonedKind::Snapshot));
    }

    #[test]
    fn one_matching_entry_of_each_list_is_enough() {
        let routes =
            json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "team" });
        let other = json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "silver" });
        let one = json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "golden" });
        let services = json!({ "group": "", "kind": "Service" });
        assert!(allows(&grant(
            &json!([routes, from("other"), from("team")]),
            &json!([services, other, one])
        )));
        assert!(!allows(&grant(&json!([routes, from("other")]), &json!([services, other, one]))));
        assert!(!allows(&grant(&json!([from("team")]), &json!([services, other]))));
    }

    #[test]
    fn another_namespace_kind_group_or_name_is_not_granted() {
        let kind = |group: &str, kind: &str| json!({ "group": group, "kind": kind, "namespace": "team" });
        for from in [
            from("other"),
            from(""),
            from("*"),
            kind("cdi.kubevirt.io", "CloneSource"),
            kind("", "CloneSource"),
            kind("decant.dev", "clonesource"),
            kind("cdi.kubevirt.io", "VolumeCloneSource"),
            kind("cdi.kubevirt.io", "DataVolume"),
            kind("", "PersistentVolumeClaim"),
        ] {
            assert!(!allows(&grant(&json!([from]), &json!([claims()]))), "{from}");
        }
        for to in [
            json!({ "group": "", "kind": "Secret" }),
            json!({ "group": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot" }),
            json!({ "group": "core", "kind": "PersistentVolumeClaim" }),
            json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "silver" }),
            json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "" }),
            json!({ "group": "", "kind": "PersistentVolumeClaim", "name": "*" }),
        ] {
            assert!(!allows(&grant(&json!([from("team")]), &json!([to]))), "{to}");
        }
    }

    /// Otherwise, a user could grant themselves the claims of another namespace.
    #[test]
    fn a_grant_in_another_namespace_than_the_claims_does_not_count() {
        for namespace in ["team", "other", ""] {
            let mut object = grant(&json!([from("team")]), &json!([claims()]));
            object["metadata"]["namespace"] = json!(namespace);
            assert!(!allows(&object), "{namespace:?}");
        }
    }

    #[test]
    fn a_grant_that_is_malformed_or_being_deleted_allows_nothing() {
        let good = grant(&json!([from("team")]), &json!([claims()]));
        let mut deleting = good.clone();
        deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T12:00:00Z");
        let to_with = |name: Value| json!([{ "group": "", "kind": "PersistentVolumeClaim", "name": name }]);
        for object in [
            deleting,
            json!({ "metadata": good["metadata"] }),
            json!({ "metadata": good["metadata"], "spec": null }),
            json!({ "metadata": good["metadata"], "spec": [] }),
            json!({ "metadata": good["metadata"], "spec": { "from": [from("team")] } }),
            grant(&from("team"), &claims()),
            grant(&json!([]), &json!([claims()])),
            grant(&json!([from("team")]), &json!([])),
            grant(&json!([from("team"), 5]), &json!([claims()])),
            grant(&json!([{ "group": "decant.dev", "namespace": "team" }]), &json!([claims()])),
            grant(&json!([from("team")]), &to_with(json!(["golden"]))),
        ] {
            assert!(!allows(&object), "{object}");
        }
        assert!(allows(&good));
    }
}
