//! Which claims get a volume, and which volumes are deleted.

use std::path::Path;
use std::time::Duration;

use decant_shared::protocol::units::parse_quantity;
use serde_json::{Value, json};

/// The provisioner that acts like a CSI driver; a CSIDriver object has this name.
pub(crate) const CSI: &str = "provisioner.test.decant.dev";
/// The provisioner that acts like local-path of k3s: no CSIDriver object, and it ignores data sources.
const PATH: &str = "path.test.decant.dev";

/// Kubernetes writes the first one since 1.23, and the second one in all versions.
const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a claim, or without the prefix a parameter of its class: the message of the refusal.
const REFUSE: &str = "refuse";
/// On a claim, or without the prefix a parameter of its class: how long to wait before the volume is made.
const DELAY: &str = "delaySecs";

/// Volumes are multiples of this, as those of CSI drivers.
const UNIT_BYTES: u64 = 4096;

/// What to do about a claim.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing: it is bound or being deleted, it has another provisioner, or waits for its first consumer.
    NotOurs,
    /// Its data source is of a kind that a CSI provisioner does not know.
    ForeignSource,
    /// The test asks for a failure with this message.
    Refused(String),
    /// It gets a volume.
    Provision(Box<Request>),
}

/// A volume to make.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// The volume's name.
    pub(crate) volume: String,
    /// `Block` or `Filesystem`.
    pub(crate) mode: String,
    pub(crate) size_bytes: u64,
    /// `namespace/name` of the claim.
    pub(crate) claim: String,
    pub(crate) delay: Duration,
    /// The VolumeSnapshot of the claim's namespace that it is restored from.
    pub(crate) snapshot: Option<String>,
    driver: String,
    node: String,
    capacity: String,
    access_modes: Value,
    class: String,
    reclaim_policy: String,
    claim_ref: Value,
}

/// The text at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str().filter(|value| !value.is_empty())
}

/// A request of the test: an annotation of the claim, or a parameter of the class.
fn wish<'a>(claim: &'a Value, class: &'a Value, name: &str) -> Option<&'a str> {
    annotation(claim, &format!("{CSI}/{name}")).or_else(|| class["parameters"][name].as_str())
}

fn has_source(claim: &Value) -> bool {
    ["dataSource", "dataSourceRef"].iter().any(|field| claim["spec"][field].is_object())
}

/// The VolumeSnapshot that `claim` is restored from.
fn snapshot_of(claim: &Value) -> Option<&str> {
    let source = &claim["spec"]["dataSource"];
    let is_snapshot = source["apiGroup"] == "snapshot.storage.k8s.io" && source["kind"] == "VolumeSnapshot";
    source["name"].as_str().filter(|_| is_snapshot)
}

/// What to do about `claim` of `class`. `only_node` is the node of volumes that do not wait for a pod.
pub(crate) fn verdict(claim: &Value, class: &Value, only_node: &str) -> Verdict {
    let driver = PROVISIONER.iter().find_map(|name| annotation(claim, name)).unwrap_or_default();
    let is_unbound = text(claim, "/spec/volumeName").is_empty();
    let is_deleting = claim["metadata"]["deletionTimestamp"].is_string();
    let node = match text(class, "/volumeBindingMode") {
        "WaitForFirstConsumer" => annotation(claim, SELECTED_NODE),
        _ => Some(only_node),
    };
    let Some(node) = node.filter(|_| [CSI, PATH].contains(&driver) && is_unbound && !is_deleting) else {
        return Verdict::NotOurs;
    };
    if driver == CSI && has_source(claim) && snapshot_of(claim).is_none() {
        return Verdict::ForeignSource;
    }
    if let Some(why) = wish(claim, class, REFUSE) {
        return Verdict::Refused(why.to_owned());
    }
    let delay = match wish(claim, class, DELAY).map(str::parse) {
        None => Duration::ZERO,
        Some(Ok(secs)) => Duration::from_secs(secs),
        Some(Err(e)) => return Verdict::Refused(format!("{DELAY} is not a number of seconds: {e}")),
    };
    let asked = text(claim, "/spec/resources/requests/storage");
    let size_bytes = match parse_quantity(asked) {
        Ok(bytes) if bytes > 0 => bytes.next_multiple_of(UNIT_BYTES),
        _ => return Verdict::Refused(format!("cannot provision {asked:?} bytes")),
    };
    let of_claim = |field: &str| text(claim, &format!("/metadata/{field}")).to_owned();
    let or = |found: &str, default: &str| (if found.is_empty() { default } else { found }).to_owned();
    Verdict::Provision(Box::new(Request {
        volume: format!("pvc-{}", of_claim("uid")),
        mode: or(text(claim, "/spec/volumeMode"), "Filesystem"),
        size_bytes,
        claim: format!("{}/{}", of_claim("namespace"), of_claim("name")),
        delay,
        snapshot: snapshot_of(claim).filter(|_| driver == CSI).map(str::to_owned),
        driver: driver.to_owned(),
        node: node.to_owned(),
        capacity: if parse_quantity(asked) == Ok(size_bytes) {
            asked.to_owned()
        } else {
            size_bytes.to_string()
        },
        access_modes: claim["spec"]["accessModes"].clone(),
        class: text(class, "/metadata/name").to_owned(),
        reclaim_policy: or(text(class, "/reclaimPolicy"), "Delete"),
        claim_ref: json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": of_claim("namespace"),
            "name": of_claim("name"), "uid": of_claim("uid"), "resourceVersion": of_claim("resourceVersion"),
        }),
    }))
}

impl Request {
    /// The PersistentVolume for the device or directory at `path`.
    pub(crate) fn volume_on(&self, path: &Path) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": self.volume, "annotations": { PROVISIONED_BY: self.driver } },
            "spec": {
                "capacity": { "storage": self.capacity },
                "accessModes": self.access_modes,
                "volumeMode": self.mode,
                "persistentVolumeReclaimPolicy": self.reclaim_policy,
                "storageClassName": self.class,
                "claimRef": self.claim_ref,
                "local": { "path": path },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "kubernetes.io/hostname", "operator": "In", "values": [self.node] },
                ] }] } },
            },
        })
    }
}

/// Whether a volume that this provisioner made has to be deleted. The rule of CSI's external-provisioner: `claimRef` does not
/// matter, and what is being deleted already is left alone.
pub(crate) fn is_ours_to_delete(volume: &Value) -> bool {
    annotation(volume, PROVISIONED_BY).is_some_and(|driver| [CSI, PATH].contains(&driver))
        && text(volume, "/status/phase") == "Released"
        && text(volume, "/spec/persistentVolumeReclaimPolicy") == "Delete"
        && !volume["metadata"]["deletionTimestamp"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(driver: &str) -> Value {
        json!({
            "metadata": { "namespace": "n", "name": "c", "uid": "u", "annotations": { PROVISIONER[1]: driver } },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "16Mi" } } },
        })
    }

    fn class(mode: &str) -> Value {
        json!({ "metadata": { "name": "s" }, "reclaimPolicy": "Delete", "volumeBindingMode": mode })
    }

    fn provisioned(claim: &Value, class: &Value) -> Request {
        match verdict(claim, class, "node1") {
            Verdict::Provision(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_gets_a_volume_of_at_least_its_size() {
        let mut claim = claim(CSI);
        let request = provisioned(&claim, &class("Immediate"));
        let volume = request.volume_on(Path::new("/p"));
        assert_eq!(
            (request.size_bytes, volume["spec"]["capacity"]["storage"].as_str()),
            (16 << 20, Some("16Mi"))
        );
        assert_eq!((text(&volume, "/metadata/name"), text(&volume, "/spec/claimRef/uid")), ("pvc-u", "u"));
        claim["spec"]["resources"]["requests"]["storage"] = "4097".into();
        let volume = provisioned(&claim, &class("Immediate")).volume_on(Path::new("/p"));
        assert_eq!(volume["spec"]["capacity"]["storage"], "8192");
    }

    #[test]
    fn a_claim_that_waits_for_its_consumer_gets_a_volume_on_the_selected_node() {
        let (mut claim, class) = (claim(CSI), class("WaitForFirstConsumer"));
        assert_eq!(verdict(&claim, &class, "node1"), Verdict::NotOurs);
        claim["metadata"]["annotations"][SELECTED_NODE] = "node2".into();
        assert_eq!(provisioned(&claim, &class).node, "node2");
    }

    #[test]
    fn claims_of_others_and_claims_that_are_bound_or_deleted_are_left_alone() {
        let class = class("Immediate");
        let mut bound = claim(CSI);
        bound["spec"]["volumeName"] = "v".into();
        let mut deleted = claim(CSI);
        deleted["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into();
        for claim in [claim("absent.test.decant.dev"), bound, deleted] {
            assert_eq!(verdict(&claim, &class, "node1"), Verdict::NotOurs, "{claim}");
        }
    }

    #[test]
    fn only_the_provisioner_without_csi_ignores_a_data_source() {
        for field in ["dataSource", "dataSourceRef"] {
            for driver in [CSI, PATH] {
                let mut claim = claim(driver);
                claim["spec"][field] = json!({ "apiGroup": "g", "kind": "k", "name": "n" });
                let found = verdict(&claim, &class("Immediate"), "node1");
                assert_eq!(found == Verdict::ForeignSource, driver == CSI, "{found:?}");
            }
        }
    }

    #[test]
    fn a_claim_is_restored_from_a_snapshot() {
        let mut claim = claim(CSI);
        claim["spec"]["dataSource"] =
            json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" });
        assert_eq!(provisioned(&claim, &class("Immediate")).snapshot.as_deref(), Some("s"));
    }

    #[test]
    fn tests_ask_for_delays_and_refusals_on_the_claim_or_in_the_class() {
        let (mut of_claim, mut of_class) = (claim(CSI), class("Immediate"));
        of_class["parameters"] = json!({ DELAY: "2" });
        assert_eq!(provisioned(&of_claim, &of_class).delay, Duration::from_secs(2));
        of_claim["metadata"]["annotations"][format!("{CSI}/{DELAY}")] = "3".into();
        assert_eq!(provisioned(&of_claim, &of_class).delay, Duration::from_secs(3));
        of_class["parameters"][REFUSE] = "no space".into();
        assert_eq!(verdict(&of_claim, &of_class, "node1"), Verdict::Refused("no space".to_owned()));
    }

    #[test]
    fn only_released_volumes_with_the_policy_delete_are_deleted() {
        let volume = json!({
            "metadata": { "annotations": { PROVISIONED_BY: CSI } },
            "spec": { "persistentVolumeReclaimPolicy": "Delete" }, "status": { "phase": "Released" },
        });
        assert!(is_ours_to_delete(&volume));
        for (pointer, value) in [
            ("/spec/persistentVolumeReclaimPolicy", "Retain"),
            ("/status/phase", "Bound"),
            ("/metadata/annotations/pv.kubernetes.io~1provisioned-by", "other.example"),
        ] {
            let mut other = volume.clone();
            *other.pointer_mut(pointer).unwrap() = value.into();
            assert!(!is_ours_to_delete(&other), "{other}");
        }
    }
}
