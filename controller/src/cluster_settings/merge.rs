//! Which value of each setting counts: that of a flag, otherwise that of the cluster, otherwise the default.

use std::fmt;
use std::sync::Arc;

use decant_shared::protocol::units::Overhead;
use serde_json::{Value, json};

use crate::cluster_settings::read::ClusterConfig;
use crate::objects::Checked;
use crate::objects::cluster_config::{ConfigPart, ConfigStatus, OverheadTexts, TlsProfile, Workload};
use crate::policy::{INTERMEDIATE_CIPHERS, Policy, Setting};

const TLS12: &str = "VersionTLS12";
const TLS13: &str = "VersionTLS13";
/// The cipher suites of the Modern profile.
const MODERN_CIPHERS: &str = "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256";

/// The policy that counts, and where its settings come from.
#[derive(Debug, Clone)]
pub struct EffectivePolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Each setting that the cluster can have.
    pub applied: Vec<AppliedSetting>,
    /// Values of the cluster that cannot be used, for people.
    pub problems: Vec<String>,
}

/// A setting with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedSetting {
    /// Which setting.
    pub setting: Setting,
    /// Its value, for people.
    pub value: String,
    /// Where the value comes from.
    pub origin: SettingOrigin,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A flag of the controller, or its environment variable.
    Flag,
    /// This field of an object of CDI.
    Cluster(&'static str),
    /// The default of the controller.
    Default,
}

impl fmt::Display for AppliedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, origin } = self;
        let flag = setting.flag();
        match origin {
            SettingOrigin::Flag => write!(f, "{}: {value} (flag {flag})", setting.name()),
            SettingOrigin::Cluster(field) => write!(f, "{}: {value} ({field})", setting.name()),
            SettingOrigin::Default => write!(f, "{}: {value} (default)", setting.name()),
        }
    }
}

/// A field of the cluster's objects.
struct Field<'a, T> {
    name: &'static str,
    value: Option<&'a Checked<T>>,
}

/// Completes the policy of the flags with the settings of the cluster.
pub fn merge(flags: &Policy, cluster: &ClusterConfig) -> EffectivePolicy {
    let mut merging =
        Merging { policy: flags.clone(), applied: Vec::new(), problems: cluster.problems.clone() };
    let (no_status, no_part, no_workload) =
        (ConfigStatus::default(), ConfigPart::default(), Workload::default());
    let status = cluster.config.as_ref().map_or(&no_status, |config| &config.status);
    let spec = cluster.config.as_ref().map_or(&no_part, |config| &config.spec);
    let cdi = cluster.cdi.as_ref().map_or(&no_part, |cdi| &cdi.spec.config);
    let workload = cluster.cdi.as_ref().map_or(&no_workload, |cdi| &cdi.spec.workload);
    merging.overheads(status, cdi);
    merging.pods(status, cdi);
    merging.placement(workload);
    merging.tls(spec, cdi);
    EffectivePolicy { policy: Arc::new(merging.policy), applied: merging.applied, problems: merging.problems }
}

struct Merging {
    policy: Policy,
    applied: Vec<AppliedSetting>,
    problems: Vec<String>,
}

impl Merging {
    /// The value of the first field that has one which `understand` accepts, unless a flag names the setting.
    fn choose<'f, T: 'f, V>(
        &mut self,
        setting: Setting,
        fields: impl IntoIterator<Item = Field<'f, T>>,
        understand: impl Fn(&T) -> Result<Option<V>, String>,
    ) -> Option<(V, SettingOrigin)> {
        if self.policy.given.contains(&setting) {
            return None;
        }
        for Field { name, value } in fields {
            let value = match value.map(|checked| &checked.0) {
                Some(Ok(value)) => understand(value),
                Some(Err(e)) => Err(e.to_string()),
                None => Ok(None),
            };
            match value {
                Ok(Some(value)) => return Some((value, SettingOrigin::Cluster(name))),
                Ok(None) => {}
                Err(why) => self.problems.push(format!("{name} is ignored: {why}")),
            }
        }
        None
    }

    fn note(&mut self, setting: Setting, value: String, chosen: Option<SettingOrigin>) {
        let is_given = self.policy.given.contains(&setting);
        let origin = chosen.unwrap_or(if is_given { SettingOrigin::Flag } else { SettingOrigin::Default });
        self.applied.push(AppliedSetting { setting, value, origin });
    }

    /// One flag replaces all overheads of the cluster, because the cluster may name each class. A flag for a class
    /// replaces only that of the class.
    fn overheads(&mut self, status: &ConfigStatus, cdi: &ConfigPart) {
        let fields = [
            Field { name: "CDIConfig status.filesystemOverhead", value: status.filesystem_overhead.as_ref() },
            Field { name: "CDI spec.config.filesystemOverhead", value: cdi.filesystem_overhead.as_ref() },
        ];
        let is_set = |texts: &OverheadTexts| !texts.global.is_empty() || !texts.storage_class.is_empty();
        let setting = Setting::FilesystemOverhead;
        let chosen = self.choose(setting, fields, |texts| Ok(is_set(texts).then(|| texts.clone())));
        if let Some((texts, SettingOrigin::Cluster(field))) = &chosen {
            if !texts.global.is_empty()
                && let Some(overhead) = self.overhead(field, "global", &texts.global)
            {
                self.policy.overhead = overhead;
            }
            for (class, text) in &texts.storage_class {
                if let Some(overhead) = self.overhead(field, class, text) {
                    self.policy.class_overheads.entry(class.clone()).or_insert(overhead);
                }
            }
        }
        self.note(setting, self.policy.overhead.to_string(), chosen.map(|(_, origin)| origin));
        let classes = self.policy.class_overheads.iter();
        let listed: Vec<String> = classes.map(|(class, overhead)| format!("{class}={overhead}")).collect();
        if !listed.is_empty() {
            let origin = self.applied.last().map(|applied| applied.origin);
            let is_of_cluster = matches!(origin, Some(SettingOrigin::Cluster(_)));
            self.note(Setting::ClassOverheads, listed.join(", "), origin.filter(|_| is_of_cluster));
        }
    }

    fn overhead(&mut self, field: &str, which: &str, text: &str) -> Option<Overhead> {
        let parsed = text.parse::<Overhead>();
        if let Err(e) = &parsed {
            self.problems.push(format!("{field} ({which}) is ignored: {text:?}: {e}"));
        }
        parsed.ok()
    }

    fn pods(&mut self, status: &ConfigStatus, cdi: &ConfigPart) {
        let resources = [
            Field {
                name: "CDIConfig status.defaultPodResourceRequirements",
                value: status.default_pod_resource_requirements.as_ref(),
            },
            Field {
                name: "CDI spec.config.podResourceRequirements",
                value: cdi.pod_resource_requirements.as_ref(),
            },
        ];
        let chosen = self.choose(Setting::PodResources, resources, |resources| {
            Ok((!resources.is_empty()).then(|| json!(resources)))
        });
        let origin = self.put(chosen, |policy, resources| policy.pods.resources = resources);
        self.note(Setting::PodResources, self.policy.pods.resources.to_string(), origin);

        let secrets = [
            Field { name: "CDIConfig status.imagePullSecrets", value: status.image_pull_secrets.as_ref() },
            Field { name: "CDI spec.config.imagePullSecrets", value: cdi.image_pull_secrets.as_ref() },
        ];
        let chosen = self.choose(Setting::PullSecrets, secrets, |secrets| {
            let names = secrets.iter().map(|secret| secret.name.clone()).filter(|name| !name.is_empty());
            Ok(Some(names.collect::<Vec<_>>()).filter(|names| !names.is_empty()))
        });
        let origin = self.put(chosen, |policy, secrets| policy.pods.pull_secrets = secrets);
        self.note(Setting::PullSecrets, or_none(self.policy.pods.pull_secrets.join(", ")), origin);

        let preallocation = [
            Field { name: "CDIConfig status.preallocation", value: status.preallocation.as_ref() },
            Field { name: "CDI spec.config.preallocation", value: cdi.preallocation.as_ref() },
        ];
        let chosen = self.choose(Setting::Preallocation, preallocation, |wanted| Ok(Some(*wanted)));
        let origin = self.put(chosen, |policy, wanted| policy.preallocation = wanted);
        self.note(Setting::Preallocation, self.policy.preallocation.to_string(), origin);
    }

    fn placement(&mut self, workload: &Workload) {
        let selector =
            Field { name: "CDI spec.workload.nodeSelector", value: workload.node_selector.as_ref() };
        let chosen = self.choose(Setting::NodeSelector, [selector], |selector| {
            Ok(Some(selector.clone()).filter(|selector| !selector.is_empty()))
        });
        let origin = self.put(chosen, |policy, selector| policy.pods.node_selector = selector);
        self.note(Setting::NodeSelector, shown(&json!(self.policy.pods.node_selector)), origin);

        let tolerations =
            Field { name: "CDI spec.workload.tolerations", value: workload.tolerations.as_ref() };
        let chosen = self
            .choose(Setting::Tolerations, [tolerations], |list| Ok((!list.is_empty()).then(|| json!(list))));
        let origin = self.put(chosen, |policy, tolerations| policy.pods.tolerations = tolerations);
        self.note(Setting::Tolerations, shown(&self.policy.pods.tolerations), origin);

        let affinity = Field { name: "CDI spec.workload.affinity", value: workload.affinity.as_ref() };
        let chosen = self.choose(Setting::Affinity, [affinity], |affinity| {
            Ok(Some(affinity.clone()).filter(|affinity| !affinity.is_empty()))
        });
        let origin = self.put(chosen, |policy, affinity| policy.pods.affinity = affinity);
        self.note(Setting::Affinity, shown(&Value::Object(self.policy.pods.affinity.clone())), origin);
    }

    fn tls(&mut self, spec: &ConfigPart, cdi: &ConfigPart) {
        let fields = || {
            [
                Field {
                    name: "CDIConfig spec.tlsSecurityProfile",
                    value: spec.tls_security_profile.as_ref(),
                },
                Field {
                    name: "CDI spec.config.tlsSecurityProfile",
                    value: cdi.tls_security_profile.as_ref(),
                },
            ]
        };
        let chosen = self.choose(Setting::TlsMinVersion, fields(), |profile| tls(profile).map(Some));
        let origin = self.put(chosen, |policy, tls| policy.pods.tls_min_version = tls.min_version);
        self.note(Setting::TlsMinVersion, self.policy.pods.tls_min_version.clone(), origin);
        let chosen = self.choose(Setting::TlsCiphers, fields(), |profile| tls(profile).map(Some));
        let origin = self.put(chosen, |policy, tls| policy.pods.tls_ciphers = tls.ciphers);
        self.note(Setting::TlsCiphers, self.policy.pods.tls_ciphers.clone(), origin);
        // Both settings are read from the same field.
        let mut seen = Vec::new();
        self.problems.retain(|problem| {
            let is_new = !seen.contains(problem);
            seen.push(problem.clone());
            is_new
        });
    }

    fn put<V>(
        &mut self,
        chosen: Option<(V, SettingOrigin)>,
        set: impl FnOnce(&mut Policy, V),
    ) -> Option<SettingOrigin> {
        let (value, origin) = chosen?;
        set(&mut self.policy, value);
        Some(origin)
    }
}

/// The settings of a TLS profile.
struct TlsSettings {
    min_version: String,
    ciphers: String,
}

/// Targets have no suites of the profile `Old` that are not in `Intermediate`, and nothing older than TLS 1.2.
fn tls(profile: &TlsProfile) -> Result<TlsSettings, String> {
    let settings = |min_version: &str, ciphers: &str| TlsSettings {
        min_version: min_version.to_owned(),
        ciphers: ciphers.to_owned(),
    };
    if let Some(custom) = &profile.custom {
        let is_modern = custom.min_tls_version == TLS13;
        return Ok(settings(if is_modern { TLS13 } else { TLS12 }, &custom.ciphers.join(",")));
    }
    match profile.kind.as_str() {
        "Modern" => Ok(settings(TLS13, MODERN_CIPHERS)),
        "Old" | "Intermediate" => Ok(settings(TLS12, INTERMEDIATE_CIPHERS)),
        other => Err(format!("{other:?} is no type of a TLS profile")),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// JSON for people.
fn shown(value: &Value) -> String {
    let is_empty = match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if is_empty { "none".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn cluster(config: &Value, cdi: &Value) -> ClusterConfig {
        let read = |object: &Value| serde_json::from_value(object.clone());
        ClusterConfig {
            config: Some(read(config).unwrap()),
            cdi: Some(serde_json::from_value(cdi.clone()).unwrap()),
            problems: Vec::new(),
        }
    }

    fn origin(merged: &EffectivePolicy, setting: Setting) -> String {
        let applied = merged.applied.iter().find(|applied| applied.setting == setting);
        applied.map(ToString::to_string).unwrap_or_default()
    }

    fn full() -> ClusterConfig {
        cluster(
            &json!({
                "metadata": { "name": "config" },
                "spec": { "tlsSecurityProfile": { "type": "Modern", "modern": {} } },
                "status": {
                    "filesystemOverhead": { "global": "0.1", "storageClass": { "a": "0.2", "b": "0.1" } },
                    "defaultPodResourceRequirements": { "limits": { "cpu": "2", "memory": "1Gi" } },
                    "imagePullSecrets": [{ "name": "registry" }],
                    "preallocation": true,
                },
            }),
            &json!({ "spec": {
                "workload": {
                    "nodeSelector": { "disk": "fast" },
                    "tolerations": [{ "key": "data", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5 }],
                    "affinity": { "nodeAffinity": { "x": 1 } },
                },
                "config": { "filesystemOverhead": { "global": "0.3" } },
            } }),
        )
    }

    #[test]
    fn settings_of_the_cluster_fill_what_no_flag_names() {
        let merged = merge(&Policy::default(), &full());
        let policy = &merged.policy;
        assert_eq!(
            (policy.overhead.to_string(), policy.class_overheads["a"].to_string()),
            ("0.1".into(), "0.2".into())
        );
        assert_eq!(policy.pods.resources, json!({ "limits": { "cpu": "2", "memory": "1Gi" } }));
        assert_eq!(policy.pods.pull_secrets, ["registry"]);
        assert!(policy.preallocation);
        assert_eq!(policy.pods.node_selector["disk"], "fast");
        let toleration =
            json!({ "key": "data", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5 });
        assert_eq!(policy.pods.tolerations, json!([toleration]));
        assert_eq!(Value::Object(policy.pods.affinity.clone()), json!({ "nodeAffinity": { "x": 1 } }));
        assert_eq!(
            (policy.pods.tls_min_version.as_str(), policy.pods.tls_ciphers.as_str()),
            (TLS13, MODERN_CIPHERS)
        );
        assert_eq!(merged.problems, Vec::<String>::new());
        assert_eq!(merged.applied.len(), 10);
        let all_of_cluster = |applied: &AppliedSetting| matches!(applied.origin, SettingOrigin::Cluster(_));
        assert!(merged.applied.iter().all(all_of_cluster), "{:?}", merged.applied);
        let shown = origin(&merged, Setting::FilesystemOverhead);
        assert_eq!(shown, "filesystem overhead: 0.1 (CDIConfig status.filesystemOverhead)");
    }

    #[test]
    fn flags_precede_the_cluster_and_defaults_remain_without_either() {
        let mut flags =
            Policy { preallocation: false, overhead: "0.05".parse().unwrap(), ..Policy::default() };
        flags.class_overheads.insert("b".to_owned(), "0.4".parse().unwrap());
        flags.given.extend([
            Setting::Preallocation,
            Setting::FilesystemOverhead,
            Setting::ClassOverheads,
            Setting::TlsMinVersion,
        ]);
        let merged = merge(&flags, &full());
        assert!(!merged.policy.preallocation);
        assert_eq!(merged.policy.overhead, flags.overhead);
        assert_eq!(merged.policy.class_overheads, flags.class_overheads);
        assert_eq!(
            (merged.policy.pods.tls_min_version.as_str(), merged.policy.pods.tls_ciphers.as_str()),
            (TLS12, MODERN_CIPHERS)
        );
        assert_eq!(origin(&merged, Setting::Preallocation), "preallocation: false (flag --preallocation)");
        assert_eq!(
            origin(&merged, Setting::ClassOverheads),
            "filesystem overhead by class: b=0.4 (flag --class-overhead)"
        );

        let none = merge(&Policy::default(), &ClusterConfig::default());
        assert_eq!(origin(&none, Setting::FilesystemOverhead), "filesystem overhead: 0.06 (default)");
        assert_eq!(origin(&none, Setting::PullSecrets), "pull secrets: none (default)");
        assert!(none.applied.iter().all(|applied| applied.origin == SettingOrigin::Default));
    }

    #[test]
    fn a_flag_for_one_class_keeps_the_overheads_of_the_others() {
        let mut flags = Policy::default();
        flags.class_overheads.insert("a".to_owned(), "0.4".parse().unwrap());
        flags.given.insert(Setting::ClassOverheads);
        let merged = merge(&flags, &full()).policy;
        assert_eq!(merged.overhead.to_string(), "0.1");
        assert_eq!(merged.class_overheads["a"].to_string(), "0.4");
        assert_eq!(merged.class_overheads["b"].to_string(), "0.1");
    }

    #[test]
    fn without_a_cdi_config_the_object_of_kind_cdi_counts() {
        let mut only_cdi = full();
        only_cdi.config = None;
        let merged = merge(&Policy::default(), &only_cdi);
        let shown = origin(&merged, Setting::FilesystemOverhead);
        assert_eq!(shown, "filesystem overhead: 0.3 (CDI spec.config.filesystemOverhead)");
    }

    #[test]
    fn a_value_that_cannot_be_used_is_reported_and_the_next_one_counts() {
        let broken = cluster(
            &json!({
                "metadata": { "name": "config" },
                "spec": { "tlsSecurityProfile": { "type": "Ancient" } },
                "status": {
                    "filesystemOverhead": { "global": "much", "storageClass": { "a": "2", "b": "0.2" } },
                    "preallocation": "perhaps",
                    "defaultPodResourceRequirements": 7,
                    "imagePullSecrets": null,
                },
            }),
            &json!({ "spec": {
                "config": { "preallocation": true },
                "workload": { "nodeSelector": ["a"], "tolerations": {}, "affinity": [] },
            } }),
        );
        let merged = merge(&Policy::default(), &broken);
        assert_eq!(merged.policy.overhead, Policy::default().overhead);
        assert_eq!(merged.policy.class_overheads.len(), 1);
        assert!(merged.policy.preallocation);
        assert_eq!(merged.policy.pods.resources, Policy::default().pods.resources);
        assert!(merged.policy.pods.node_selector.is_empty() && merged.policy.pods.affinity.is_empty());
        let fields = [
            "status.filesystemOverhead (global)",
            "status.filesystemOverhead (a)",
            "status.defaultPodResourceRequirements",
            "status.preallocation",
            "spec.workload.nodeSelector",
            "spec.workload.tolerations",
            "spec.workload.affinity",
            "spec.tlsSecurityProfile",
        ];
        for (problem, field) in merged.problems.iter().zip(fields) {
            assert!(problem.contains(field) && problem.contains("is ignored"), "{problem}");
        }
        assert_eq!(merged.problems.len(), fields.len(), "{:#?}", merged.problems);
    }

    #[test]
    fn the_types_of_tls_profiles() {
        let profile = |text: Value| {
            tls(&serde_json::from_value(text).unwrap()).map(|tls| (tls.min_version, tls.ciphers))
        };
        for kind in ["Old", "Intermediate"] {
            assert_eq!(
                profile(json!({ "type": kind })),
                Ok((TLS12.to_owned(), INTERMEDIATE_CIPHERS.to_owned()))
            );
        }
        let custom = |version: &str| json!({ "type": "Custom", "custom": { "ciphers": ["A", "B"], "minTLSVersion": version } });
        assert_eq!(profile(custom("VersionTLS11")), Ok((TLS12.to_owned(), "A,B".to_owned())));
        assert_eq!(profile(custom("VersionTLS13")), Ok((TLS13.to_owned(), "A,B".to_owned())));
        assert!(profile(json!({})).is_err());
    }
}
