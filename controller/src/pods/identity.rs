//! The identity of a pod of a clone, and its proof.
//!
//! Every user who can create pods can write labels, annotations and owner references. A pod belongs to a clone only if
//! it carries the controller's seal ([`Purpose::Pod`]) over its role, its clone, and its own namespace and name. The
//! seal does not match when the annotations are copied to a pod of another namespace or name.

use serde_json::{Map, Value};

use crate::objects::annotations::{
    AUTHORITY, KEYS, OWNER_REF, PROOF, SOURCE_CLAIM_UID, TARGET_CLAIM_UID, TARGET_POD_UID,
};
use crate::objects::{Key, Meta, Uid};
use crate::pods::role::Role;
use crate::token::key::TokenKey;
use crate::token::seal::Purpose;

/// The identity of a pod of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// Source or target.
    pub role: Role,
    /// Its own namespace and name.
    pub pod: Key,
    /// Namespace and name of the target claim, which is also the key of the clone.
    pub clone: Key,
    /// UID of the target claim.
    pub target_claim: Uid,
    /// UID of the source claim.
    pub source_claim: Uid,
    /// For a source, UID of the target pod whose address it was given.
    pub target_pod: Option<Uid>,
    /// The authorities that issued its first certificates.
    pub authority: String,
    /// The Secret with its first keys.
    pub keys: String,
}

impl PodIdentity {
    /// The identity of the pod with this metadata, if `key` has sealed it.
    pub fn of(pod: &Meta, key: &TokenKey) -> Option<Self> {
        let identity = Self::said(pod)?;
        let seal = pod.annotation(PROOF)?;
        identity.with_fields(|fields| key.has_sealed(Purpose::Pod, fields, seal)).then_some(identity)
    }

    /// The identity in the annotations of a pod. Only for pods whose seal was checked, such as those in the store.
    pub fn said(pod: &Meta) -> Option<Self> {
        let role = Role::of(&pod.labels)?;
        Some(Self {
            role,
            pod: pod.key(),
            clone: pod.annotation(OWNER_REF)?.parse().ok()?,
            target_claim: pod.annotation(TARGET_CLAIM_UID)?.into(),
            source_claim: pod.annotation(SOURCE_CLAIM_UID)?.into(),
            target_pod: pod.annotation(TARGET_POD_UID).filter(|_| role == Role::Source).map(Uid::from),
            authority: pod.annotation(AUTHORITY)?.to_owned(),
            keys: pod.annotation(KEYS)?.to_owned(),
        })
    }

    /// The annotations that a pod with this identity carries, sealed with `key`.
    pub fn annotations(&self, key: &TokenKey) -> Map<String, Value> {
        let mut annotations = Map::new();
        let mut add = |name: &str, value: &str| annotations.insert(name.to_owned(), value.into());
        add(OWNER_REF, &self.clone.to_string());
        add(TARGET_CLAIM_UID, self.target_claim.as_str());
        add(SOURCE_CLAIM_UID, self.source_claim.as_str());
        if let Some(target_pod) = &self.target_pod {
            add(TARGET_POD_UID, target_pod.as_str());
        }
        add(AUTHORITY, &self.authority);
        add(KEYS, &self.keys);
        add(PROOF, &self.with_fields(|fields| key.seal(Purpose::Pod, fields)));
        annotations
    }

    /// Calls `work` with all sealed fields, in the order of the seal.
    fn with_fields<T>(&self, work: impl FnOnce(&[&str]) -> T) -> T {
        let role = match self.role {
            Role::Source => "source",
            Role::Target => "target",
        };
        let target_pod = self.target_pod.as_ref().map_or("", Uid::as_str);
        work(&[
            role,
            &self.pod.namespace,
            &self.pod.name,
            &self.clone.namespace,
            &self.clone.name,
            self.target_claim.as_str(),
            self.source_claim.as_str(),
            target_pod,
            &self.authority,
            &self.keys,
        ])
    }
}

/// A pod of the clone `n/c` as the store receives it.
#[cfg(test)]
pub(crate) fn sealed_pod(
    role: Role,
    namespace: &str,
    target_claim: &str,
    key: &TokenKey,
) -> crate::objects::Pod {
    let name = match role {
        Role::Source => format!("{target_claim}-source-pod"),
        Role::Target => "cdi-upload-c".to_owned(),
    };
    let identity = PodIdentity {
        role,
        pod: Key::new(namespace, &name),
        clone: Key::new("n", "c"),
        target_claim: target_claim.into(),
        source_claim: Uid::from("s"),
        target_pod: (role == Role::Source).then(|| Uid::from("t")),
        authority: "1-2".to_owned(),
        keys: format!("{name}-keys"),
    };
    serde_json::from_value(serde_json::json!({ "metadata": {
        "namespace": namespace, "name": name, "labels": { crate::objects::annotations::ROLE: role.name() },
        "annotations": identity.annotations(key),
    } }))
    .unwrap()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::objects::annotations::{COMPONENT, COMPONENT_SOURCE, COMPONENT_TARGET};

    fn key() -> TokenKey {
        TokenKey::new(&[5; 32])
    }

    /// The metadata of a source pod as the controller writes it.
    fn pod() -> Meta {
        let identity = PodIdentity {
            role: Role::Source,
            pod: Key::new("a", "1-source-pod"),
            clone: Key::new("b", "copy"),
            target_claim: Uid::from("1"),
            source_claim: Uid::from("2"),
            target_pod: Some(Uid::from("3")),
            authority: "4-5".to_owned(),
            keys: "1-source-pod-6".to_owned(),
        };
        let annotations = identity.annotations(&key());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Meta {
            namespace: "a".to_owned(),
            name: "1-source-pod".to_owned(),
            labels: BTreeMap::from([(COMPONENT.to_owned(), COMPONENT_SOURCE.to_owned())]),
            annotations: annotations.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            ..Meta::default()
        }
    }

    #[test]
    fn a_pod_of_ours_is_known_by_its_seal() {
        let identity = PodIdentity::of(&pod(), &key()).unwrap();
        assert_eq!((identity.role, identity.clone.to_string().as_str()), (Role::Source, "b/copy"));
        assert_eq!(PodIdentity::of(&pod(), &TokenKey::new(&[6; 32])), None);
    }

    #[test]
    fn a_pod_with_the_annotations_of_another_is_a_stranger() {
        for change in [
            (|pod: &mut Meta| pod.namespace = "x".to_owned()) as fn(&mut Meta),
            |pod| pod.name = "2-source-pod".to_owned(),
            |pod| {
                pod.labels.insert(COMPONENT.to_owned(), COMPONENT_TARGET.to_owned());
            },
        ] {
            let mut pod = pod();
            change(&mut pod);
            assert_eq!(PodIdentity::of(&pod, &key()), None, "{pod:?}");
        }
    }

    #[test]
    fn every_annotation_of_an_identity_is_sealed() {
        for name in pod().annotations.keys() {
            let mut changed = pod();
            changed.annotations.insert(name.clone(), "x/y".to_owned());
            assert_eq!(PodIdentity::of(&changed, &key()), None, "{name} changed");
            let mut missing = pod();
            missing.annotations.remove(name);
            assert_eq!(PodIdentity::of(&missing, &key()), None, "{name} missing");
        }
    }
}
