//! The labels and annotations that a claim inherits from its DataVolume.
//!
//! Users write DataVolumes, but must not write the state that controllers keep on claims: the progress of a clone, who bound and who
//! filled the claim. Only settings, and keys outside the prefixes of those controllers, are copied. Clients copy all
//! annotations of a claim to a DataVolume: KubeVirt's migration of storage does.

use serde_json::{Map, Value};

use crate::objects::Meta;
use crate::objects::annotations::{
    BANDWIDTH_LIMIT, BIND_IMMEDIATE, INSTANCETYPE_LABELS, PERMISSIVE_CLONE, PLACEMENT, POD_ANNOTATIONS,
    POD_LABELS, PRIORITY_CLASS, RETAIN_PODS, SOURCE_IN_USE, STREAMS, TRANSFER, USE_POPULATOR, VERIFY,
};
use crate::objects::label_syntax::is_within;

/// Annotations of CDI and Decant that are settings of the user.
const SETTINGS: [&str; 13] = [
    SOURCE_IN_USE,
    PLACEMENT,
    POD_LABELS,
    POD_ANNOTATIONS,
    TRANSFER,
    BANDWIDTH_LIMIT,
    STREAMS,
    VERIFY,
    BIND_IMMEDIATE,
    RETAIN_PODS,
    PERMISSIVE_CLONE,
    PRIORITY_CLASS,
    USE_POPULATOR,
];
/// Domains, including subdomains, whose annotations are the state of a controller.
const STATE_DOMAINS: [&str; 5] =
    ["cdi.kubevirt.io", "cdi.Kubervirt.io", "k8s.io", "kubernetes.io", "decant.dev"];
/// The same for labels. `kubernetes.io` is not among them, because users set labels such as `app.kubernetes.io/name`.
const STATE_LABEL_DOMAINS: [&str; 3] = ["cdi.kubevirt.io", "k8s.io", "decant.dev"];

/// The annotations that the claim of the DataVolume with this metadata gets.
pub(super) fn annotations(data_volume: &Meta) -> Map<String, Value> {
    let is_kept = |name: &str| SETTINGS.contains(&name) || !is_within(name, &STATE_DOMAINS);
    kept(&data_volume.annotations, is_kept)
}

/// The labels that the claim of the DataVolume with this metadata gets.
pub(super) fn labels(data_volume: &Meta) -> Map<String, Value> {
    let is_kept = |name: &str| INSTANCETYPE_LABELS.contains(&name) || !is_within(name, &STATE_LABEL_DOMAINS);
    kept(&data_volume.labels, is_kept)
}

fn kept(
    pairs: &std::collections::BTreeMap<String, String>,
    is_kept: impl Fn(&str) -> bool,
) -> Map<String, Value> {
    let kept = pairs.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data_volume(names: &[&str]) -> Meta {
        let pairs = names.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        Meta { annotations: pairs.clone().collect(), labels: pairs.collect(), ..Meta::default() }
    }

    #[test]
    fn state_of_controllers_is_not_taken_over() {
        let state = [
            "k8s.io/CloneOf",
            "k8s.io/CloneRequest",
            "cdi.kubevirt.io/storage.pod.phase",
            "cdi.kubevirt.io/storage.populatedFor",
            "cdi.kubevirt.io/storage.clone.token",
            "decant.dev/digest",
            "decant.dev/not-kept",
            "decant.dev/outcome",
            "cdi.Kubervirt.io/virtualSize",
            "pv.kubernetes.io/bind-completed",
            "volume.beta.kubernetes.io/storage-provisioner",
            "volume.kubernetes.io/selected-node",
            "kubectl.kubernetes.io/last-applied-configuration",
        ];
        assert_eq!(annotations(&data_volume(&state)), Map::new());
        let labels_of_state = ["cdi.kubevirt.io", "cdi.kubevirt.io/uploadTarget", "decant.dev/x"];
        assert_eq!(labels(&data_volume(&labels_of_state)), Map::new());
    }

    #[test]
    fn settings_and_what_is_the_users_own_is_taken_over() {
        let own = [
            "note",
            "example.com/team",
            "notk8s.io/x",
            "decant.dev/streams",
            "decant.dev/placement",
            "decant.dev/pod-labels",
            "decant.dev/pod-annotations",
            "cdi.kubevirt.io/storage.bind.immediate.requested",
            "k8s.v1.cni.cncf.io/networks",
        ];
        assert_eq!(annotations(&data_volume(&own)).len(), own.len());
        let own = ["app", "app.kubernetes.io/name", "instancetype.kubevirt.io/default-preference"];
        assert_eq!(labels(&data_volume(&own)).len(), own.len());
    }

    proptest! {
        #[test]
        fn nothing_of_a_state_domain_is_taken_over_but_settings(
            domain in prop::sample::select(STATE_DOMAINS.as_slice()),
            sub in prop::option::of("[a-z]{1,5}"),
            name in "[a-zA-Z.-]{1,12}",
        ) {
            let sub = sub.map_or(String::new(), |sub| format!("{sub}."));
            let name = format!("{sub}{domain}/{name}");
            prop_assume!(!SETTINGS.contains(&name.as_str()));
            prop_assert_eq!(annotations(&data_volume(&[&name])), Map::new());
        }
    }
}
