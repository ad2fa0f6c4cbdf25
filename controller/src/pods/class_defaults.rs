//! What the storage class of a target claim decides about the fields that a DataVolume leaves open (docs/protocol.md
//! section 4.8, "class").

use std::cmp::Reverse;
use std::sync::Arc;

use crate::objects::claim::VolumeMode;
use crate::objects::storage_profile::ClaimPropertySet;
use crate::objects::{ClaimTemplate, StorageClass, StorageProfile};

/// The storage class of a claim that is to be created, and its StorageProfile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassDefaults {
    /// The class; `None` if the claim has none, or it does not exist.
    pub class: Option<Arc<StorageClass>>,
    /// The StorageProfile of the class; `None` if there is none, or it is not used.
    pub profile: Option<Arc<StorageProfile>>,
}

/// The class of claims that name none: for disk images the default class for virtual machines, otherwise the default
/// class. As in Kubernetes, it is the newest one with the mark, then the first by name.
pub fn fallback_class(classes: &[StorageClass], is_disk: bool) -> Option<&StorageClass> {
    let best = |is_marked: fn(&StorageClass) -> bool| {
        let marked = classes.iter().filter(|class| is_marked(class));
        marked.max_by_key(|class| (&class.metadata.creation_timestamp, Reverse(&class.metadata.name)))
    };
    let for_machines = if is_disk { best(StorageClass::is_virt_default) } else { None };
    for_machines.or_else(|| best(StorageClass::is_default))
}

impl ClassDefaults {
    /// Fills in the class, and the modes that the StorageProfile recommends. What it recommends nothing for stays open.
    pub(super) fn complete(&self, spec: &mut ClaimTemplate, is_archive: bool) {
        if let Some(class) = &self.class {
            spec.storage_class_name.get_or_insert_with(|| class.metadata.name.clone());
        }
        let sets = self.profile.as_ref().map_or(&[][..], |profile| profile.property_sets());
        if sets.is_empty() {
            return;
        }
        if is_archive {
            spec.volume_mode.get_or_insert(VolumeMode::Filesystem);
        }
        match (spec.volume_mode, spec.access_modes.as_slice()) {
            (Some(mode), []) => {
                let has_mode =
                    |set: &&ClaimPropertySet| set.volume_mode == Some(mode) && !set.access_modes.is_empty();
                if let Some(set) = sets.iter().find(has_mode) {
                    spec.access_modes.clone_from(&set.access_modes);
                }
            }
            (None, []) => {
                let first = sets.first().filter(|set| !set.access_modes.is_empty());
                if let Some(set) = first {
                    spec.access_modes.clone_from(&set.access_modes);
                    spec.volume_mode = Some(set.volume_mode.unwrap_or_default());
                }
            }
            (None, wanted) => {
                let mut fitting =
                    sets.iter().filter(|set| set.access_modes.iter().any(|mode| wanted.contains(mode)));
                let mode = fitting.next().and_then(|set| set.volume_mode);
                spec.volume_mode = Some(mode.unwrap_or_default());
            }
            (Some(_), _) => {}
        }
    }

    /// The smallest size of a claim of the class. A size that cannot be parsed counts as none.
    pub(super) fn min_size_bytes(&self) -> u64 {
        let profile = self.profile.as_ref();
        profile.and_then(|profile| profile.min_size_bytes().ok().flatten()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Claim, DataVolume};
    use crate::pods::claim::claim_spec;
    use crate::policy::Policy;
    use serde_json::{Value, json};

    fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    fn class(name: &str, created: &str, mark: &str) -> StorageClass {
        let annotations = json!({ mark: "true" });
        read(
            json!({ "metadata": { "name": name, "creationTimestamp": created, "annotations": annotations } }),
        )
    }

    const VIRT: &str = "storageclass.kubevirt.io/is-default-virt-class";
    const PLAIN: &str = "storageclass.kubernetes.io/is-default-class";

    #[test]
    fn the_default_for_machines_precedes_the_default_and_the_newest_mark_counts() {
        let named = |classes: &[StorageClass], is_disk| {
            fallback_class(classes, is_disk).map(|class| class.metadata.name.clone())
        };
        let classes = [class("virt", "2026-01-01", VIRT), class("plain", "2026-02-01", PLAIN)];
        assert_eq!(named(&classes, true).as_deref(), Some("virt"));
        assert_eq!(named(&classes, false).as_deref(), Some("plain"));
        assert_eq!(named(&classes[..1], false), None);
        assert_eq!(named(&classes[1..], true).as_deref(), Some("plain"));
        let equals = [class("b", "2026-02-01", PLAIN), class("a", "2026-02-01", PLAIN)];
        assert_eq!(named(&equals, true).as_deref(), Some("a"));
        let older = [class("a", "2026-01-01", PLAIN), class("b", "2026-02-01", PLAIN)];
        assert_eq!(named(&older, true).as_deref(), Some("b"));
    }

    fn profile(sets: &Value, min_size: Option<&str>) -> ClassDefaults {
        let annotations = json!({ "cdi.kubevirt.io/minimumSupportedPvcSize": min_size });
        let mut profile: StorageProfile =
            read(json!({ "metadata": { "name": "c" }, "status": { "claimPropertySets": sets } }));
        let annotations: std::collections::BTreeMap<String, Option<String>> = read(annotations);
        profile.metadata.annotations =
            annotations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        ClassDefaults { class: Some(Arc::new(class("c", "", PLAIN))), profile: Some(Arc::new(profile)) }
    }

    fn claim_of(storage: &Value, content: &str, defaults: &ClassDefaults) -> Value {
        let dv: DataVolume = read(json!({ "spec": { "storage": storage, "contentType": content } }));
        // Not what any profile below recommends.
        let source: Claim = read(json!({
            "spec": { "accessModes": ["ReadOnlyMany"], "volumeMode": "Filesystem" },
            "status": { "capacity": { "storage": "2Gi" } },
        }));
        serde_json::to_value(claim_spec(&dv, &source, defaults, &Policy::default()).unwrap()).unwrap()
    }

    /// The rows are those of `renderPvcSpecVolumeModeAndAccessModesAndStorageClass` in CDI, and its refusals, which become
    /// the modes of the source.
    #[test]
    fn open_modes_are_those_of_the_profile_and_else_those_of_the_source() {
        let two = json!([
            { "accessModes": ["ReadWriteMany"], "volumeMode": "Block" },
            { "accessModes": ["ReadWriteOnce", "ReadWriteOncePod"], "volumeMode": "Filesystem" },
        ]);
        let (none, no_modes) = (json!([]), json!([{ "volumeMode": "Block" }]));
        let no_volume_mode = json!([{ "accessModes": ["ReadWriteOnce"] }]);
        let own = ["ReadOnlyMany"].as_slice();
        for (sets, storage, content, modes, volume_mode) in [
            (&two, json!({}), "", ["ReadWriteMany"].as_slice(), "Block"),
            (
                &two,
                json!({ "volumeMode": "Filesystem" }),
                "",
                &["ReadWriteOnce", "ReadWriteOncePod"],
                "Filesystem",
            ),
            (&two, json!({ "volumeMode": "Block" }), "", &["ReadWriteMany"], "Block"),
            (&two, json!({ "accessModes": ["ReadWriteOncePod"] }), "", &["ReadWriteOncePod"], "Filesystem"),
            (&two, json!({ "accessModes": ["ReadWriteMany"] }), "", &["ReadWriteMany"], "Block"),
            (&two, json!({ "accessModes": ["ReadOnlyMany"] }), "", own, "Filesystem"),
            (&two, json!({ "accessModes": ["ReadOnlyMany"], "volumeMode": "Block" }), "", own, "Block"),
            (&two, json!({}), "archive", &["ReadWriteOnce", "ReadWriteOncePod"], "Filesystem"),
            (&no_volume_mode, json!({}), "", &["ReadWriteOnce"], "Filesystem"),
            (
                &no_volume_mode,
                json!({ "accessModes": ["ReadWriteOnce"] }),
                "",
                &["ReadWriteOnce"],
                "Filesystem",
            ),
            // Refused by CDI.
            (&none, json!({}), "", own, "Filesystem"),
            (&no_modes, json!({}), "", own, "Filesystem"),
            (&no_volume_mode, json!({ "volumeMode": "Block" }), "", own, "Block"),
        ] {
            let claim = claim_of(&storage, content, &profile(sets, None));
            let what = format!("{sets} {storage} {content}");
            assert_eq!(claim["accessModes"], json!(modes), "{what}");
            assert_eq!(
                (&claim["volumeMode"], &claim["storageClassName"]),
                (&json!(volume_mode), &json!("c")),
                "{what}"
            );
        }
    }

    #[test]
    fn the_sets_of_the_administrator_precede_those_of_cdi() {
        let profile: StorageProfile = read(json!({
            "spec": { "claimPropertySets": [{ "accessModes": ["A"] }] },
            "status": { "claimPropertySets": [{ "accessModes": ["B"] }] },
        }));
        assert_eq!(profile.property_sets()[0].access_modes, ["A"]);
    }

    #[test]
    fn a_size_is_raised_to_the_minimum_of_the_profile() {
        let block = |size: Option<&str>| json!({ "volumeMode": "Block", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } });
        for (size, min_size, expected) in [
            (Some("1Gi"), Some("8Gi"), 8 << 30),
            (Some("10Gi"), Some("8Gi"), 10_u64 << 30),
            (None, Some("8Gi"), 8 << 30),
            (None, None, 2 << 30),
            (Some("1Gi"), Some("much"), 1 << 30),
        ] {
            let claim = claim_of(&block(size), "", &profile(&json!([]), min_size));
            assert_eq!(
                claim["resources"]["requests"]["storage"],
                expected.to_string(),
                "{size:?} {min_size:?}"
            );
        }
        let small = profile(&json!([]), Some("8Gi"));
        let claim = claim_of(&json!({ "resources": { "requests": { "storage": "1Gi" } } }), "", &small);
        assert_eq!(claim["resources"]["requests"]["storage"], (8_u64 << 30).to_string());
    }
}
