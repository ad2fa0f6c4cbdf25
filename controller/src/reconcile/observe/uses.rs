//! Determines whether a pod uses a claim, and whether it may write to it.

use crate::objects::Pod;

/// Whether `pod` uses the claim `name` of its namespace; with `writers`, whether it may write to it. All kinds of
/// containers and volumes count (docs/migrate-from-cdi.md row 58). The name and the labels of a pod do not matter:
/// source pods of other clones do not count as writers because their whole volume is read-only.
pub(super) fn uses(pod: &Pod, name: &str, writers: bool) -> bool {
    if pod.has_ended() {
        return false;
    }
    let volumes = pod.spec.volumes.iter().filter(|volume| {
        let is_ephemeral =
            volume.ephemeral.is_some() && format!("{}-{}", pod.metadata.name, volume.name) == name;
        let claim = volume.persistent_volume_claim.as_ref().filter(|claim| claim.claim_name == name);
        is_ephemeral || claim.is_some_and(|claim| !writers || !claim.read_only)
    });
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    if !writers {
        return !names.is_empty();
    }
    let spec = &pod.spec;
    let mut containers =
        spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
    containers.any(|container| {
        container.volume_mounts.iter().any(|mount| !mount.read_only && names.contains(&mount.name.as_str()))
            || container.volume_devices.iter().any(|device| names.contains(&device.name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value, phase: &str) -> Pod {
        serde_json::from_value(json!({ "spec": spec, "status": { "phase": phase } })).unwrap()
    }

    fn mounting(containers: &str, read_only: bool, whole_read_only: bool) -> Value {
        json!({
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c", "readOnly": whole_read_only } }],
            containers: [{ "volumeMounts": [{ "name": "v", "readOnly": read_only }] }],
        })
    }

    #[test]
    fn every_sort_of_container_can_write() {
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            assert!(uses(&pod(&mounting(containers, false, false), "Running"), "c", true), "{containers}");
            assert!(!uses(&pod(&mounting(containers, true, false), "Running"), "c", true), "{containers}");
        }
    }

    #[test]
    fn readers_other_claims_and_ended_pods_do_not_write() {
        let write = mounting("containers", false, false);
        assert!(!uses(&pod(&mounting("containers", false, true), "Running"), "c", true));
        assert!(!uses(&pod(&write, "Running"), "d", true));
        assert!(!uses(&pod(&write, "Succeeded"), "c", true));
        assert!(uses(&pod(&mounting("containers", true, true), "Running"), "c", false));
    }

    #[test]
    fn a_pod_writes_to_the_claim_of_its_ephemeral_volume() {
        let spec = json!({
            "volumes": [{ "name": "v", "ephemeral": { "volumeClaimTemplate": {} } }],
            "containers": [{ "volumeMounts": [{ "name": "v" }] }],
        });
        let mut writer = pod(&spec, "Running");
        writer.metadata.name = "web".to_owned();
        assert!(uses(&writer, "web-v", true) && uses(&writer, "web-v", false));
        assert!(!uses(&writer, "v", true));
    }

    #[test]
    fn a_label_hides_no_writer() {
        let mut writer = pod(&mounting("containers", false, false), "Running");
        writer.metadata.labels.insert("cdi.kubevirt.io".to_owned(), "cdi-clone-source".to_owned());
        assert!(uses(&writer, "c", true));
    }

    #[test]
    fn a_device_is_writable_unless_the_whole_volume_is_read_only() {
        let spec = json!({
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }],
            "containers": [{ "volumeDevices": [{ "name": "v" }] }],
        });
        assert!(uses(&pod(&spec, "Pending"), "c", true));
        let mut spec = spec;
        spec["volumes"][0]["persistentVolumeClaim"]["readOnly"] = true.into();
        assert!(!uses(&pod(&spec, "Pending"), "c", true));
    }
}
