use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use decant_controller::api::cluster::{ListPage, ListParams, Watch};
use decant_controller::objects::{Object, Uid};

/// A small API server in memory: what is deleted is gone at once, with what it owns.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<(Kind, Key), Value>>,
    uids: Counter,
    /// The writes, as `verb Kind name`.
    writes: Mutex<Vec<String>>,
    /// The number of writes that take effect; later ones fail, as for a process that ended.
    writes_max: Option<usize>,
    /// What happens when a DataVolume is deleted.
    recreates: Mutex<Option<Value>>,
}

#[derive(Default)]
struct Counter(Mutex<u64>);

impl Counter {
    fn next(&self) -> u64 {
        let mut number = self.0.lock().unwrap();
        *number += 1;
        *number
    }
}

fn api_error(code: u16, reason: &str) -> ApiError {
    ApiError { code, reason: reason.to_owned(), message: reason.to_owned() }
}

fn key_of(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    for (name, value) in members {
        merge(&mut into[name], value);
    }
}

impl Memory {
    fn add(&self, kind: Kind, mut object: Value) {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.name().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.uids.next()).into();
        }
        self.objects.lock().unwrap().insert((kind, key_of(&object)), object);
    }

    fn find(&self, kind: Kind, name: &str) -> Option<Value> {
        let namespace = if matches!(kind, Kind::StorageClass) { "" } else { "n" };
        self.objects.lock().unwrap().get(&(kind, Key::new(namespace, name))).cloned()
    }

    fn write(&self, what: String) -> Result<(), ApiError> {
        let mut writes = self.writes.lock().unwrap();
        if self.writes_max.is_some_and(|most| writes.len() >= most) {
            return Err(api_error(0, "Killed"));
        }
        writes.push(what);
        Ok(())
    }

    fn change(&self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        change(self.objects.lock().unwrap().get_mut(&(kind, Key::new("n", name))).unwrap());
    }
}

impl Cluster for Memory {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        let objects = self.objects.lock().unwrap();
        objects.get(&(kind, key.clone())).cloned().map(Object::from).ok_or_else(|| api_error(404, "NotFound"))
    }

    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        let is_selected = |object: &Value| {
            let fields = params.fields.split(',').filter(|field| !field.is_empty());
            fields.into_iter().all(|field| {
                let (path, value) = field.split_once('=').unwrap();
                object.pointer(&format!("/{}", path.replace('.', "/"))).is_some_and(|found| found == value)
            })
        };
        let objects = self.objects.lock().unwrap();
        let all = objects.iter().filter(|((of, key), _)| {
            *of == kind && params.namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
        });
        let items = all.filter(|(_, object)| is_selected(object)).map(|(_, object)| object.clone().into());
        Ok(ListPage { items: items.collect(), ..ListPage::default() })
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(api_error(410, "Expired"))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        let key = key_of(object);
        if self.objects.lock().unwrap().contains_key(&(kind, key.clone())) {
            return Err(api_error(409, "AlreadyExists"));
        }
        self.write(format!("create {} {}", kind.name(), key.name))?;
        self.add(kind, object.clone());
        self.get(kind, &key)
    }

    fn patch(&self, kind: Kind, key: &Key, _: Part, patch: &Value) -> Result<Object, ApiError> {
        self.write(format!("patch {} {}", kind.name(), key.name))?;
        match self.objects.lock().unwrap().get_mut(&(kind, key.clone())) {
            Some(object) => merge(object, patch),
            None => return Err(api_error(404, "NotFound")),
        }
        self.get(kind, key)
    }

    fn replace(&self, _: Kind, _: &Key, _: &Value) -> Result<Object, ApiError> {
        Err(api_error(405, "MethodNotAllowed"))
    }

    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        self.write(format!("delete {} {}", kind.name(), key.name))?;
        let mut objects = self.objects.lock().unwrap();
        objects.retain(|(_, _), object| {
            let is_it = object["metadata"]["uid"] == uid.as_str();
            let is_owned = object["metadata"]["ownerReferences"][0]["uid"] == uid.as_str();
            !is_it && !is_owned
        });
        drop(objects);
        if let Some(again) = self.recreates.lock().unwrap().take().filter(|_| kind == Kind::DataVolume) {
            self.add(Kind::DataVolume, again);
        }
        Ok(())
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(api_error(503, "ServiceUnavailable"))
    }
}

/// A cluster with a DataVolume of CDI that is stuck in this phase.
fn stuck(phase: &str) -> Memory {
    let memory = Memory::default();
    let claim = |name: &str, class: &str, volume: &str| {
        json!({
            "metadata": { "namespace": "n", "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": class,
                      "volumeName": volume, "resources": { "requests": { "storage": "2Gi" } } },
            "status": { "phase": if volume.is_empty() { "Pending" } else { "Bound" } },
        })
    };
    memory.add(Kind::PersistentVolumeClaim, claim("golden", "slow", "pv"));
    memory.add(
        Kind::DataVolume,
        json!({
            "metadata": {
                "namespace": "n", "name": "copy", "uid": "dv",
                "labels": { "instancetype.kubevirt.io/default-preference": "linux", "team": "a" },
                "annotations": { "example.com/note": "mine", "cdi.kubevirt.io/cloneType": "csi-clone",
                                 "cdi.kubevirt.io/storage.extended.clone.token": "t" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "o" }],
            },
            "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": {} },
            "status": { "phase": phase },
        }),
    );
    let mut target = claim("copy", "fast", "");
    target["metadata"]["uid"] = "target".into();
    target["metadata"]["ownerReferences"] =
        json!([{ "kind": "DataVolume", "name": "copy", "uid": "dv", "controller": true }]);
    memory.add(Kind::PersistentVolumeClaim, target);
    for (class, driver) in [("slow", "a.example"), ("fast", "b.example")] {
        memory.add(Kind::StorageClass, json!({ "metadata": { "name": class }, "provisioner": driver }));
    }
    memory
}

fn warn(memory: &Memory, kind: Kind, name: &str, message: &str) {
    memory.add(
        Kind::Event,
        json!({
            "metadata": { "namespace": "n", "name": format!("{name}.1") }, "type": "Warning", "reason": "ProvisioningFailed",
            "involvedObject": { "kind": kind.name(), "name": name }, "message": message,
            "lastTimestamp": "2026-01-01T12:00:00Z",
        }),
    );
}

fn rescue<'c>(memory: &'c Memory, directory: &tempfile::TempDir, server: Server) -> Rescue<'c> {
    Rescue {
        cluster: memory,
        key: Key::new("n", "copy"),
        server,
        directory: directory.path().to_owned(),
        dry_run: false,
        timeout: Duration::ZERO,
        poll: Duration::ZERO,
    }
}

fn run(memory: &Memory, directory: &tempfile::TempDir, server: Server) -> Result<Ending, String> {
    rescue(memory, directory, server).run(|| Ok(true)).map_err(|failure| failure.to_string())
}

fn files(directory: &tempfile::TempDir) -> usize {
    std::fs::read_dir(directory.path()).unwrap().count()
}

#[test]
fn beside_cdi_the_data_volume_is_created_again_with_a_clone_source() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    assert_eq!(run(&memory, &directory, Server::Cdi), Ok(Ending::Done));
    let dv = memory.find(Kind::DataVolume, "copy").unwrap();
    assert_ne!(dv["metadata"]["uid"], "dv");
    assert_eq!(dv["spec"].get("source"), None);
    let storage = &dv["spec"]["storage"];
    assert_eq!(
        storage["dataSourceRef"],
        json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": "copy" })
    );
    assert_eq!(storage["resources"]["requests"]["storage"], "2Gi", "CDI derives no size from a CloneSource");
    assert_eq!(storage["storageClassName"], "fast");
    assert_eq!(storage["volumeMode"], "Block");
    assert_eq!(storage["accessModes"], json!(["ReadWriteOnce"]));
    let source = memory.find(Kind::CloneSource, "copy").unwrap();
    assert_eq!(source["spec"]["source"], json!({ "namespace": "n", "name": "golden" }));
    assert_eq!(source["metadata"]["ownerReferences"][0]["uid"], dv["metadata"]["uid"]);
    assert!(memory.find(Kind::PersistentVolumeClaim, "copy").is_none(), "CDI creates it");
}

#[test]
fn without_cdi_the_data_volume_keeps_its_source_and_cdis_temporary_objects_are_removed() {
    let (memory, directory) = (stuck("SnapshotForSmartCloneInProgress"), tempfile::tempdir().unwrap());
    for (kind, name) in
        [(Kind::PersistentVolumeClaim, "tmp-pvc-target"), (Kind::VolumeSnapshot, "tmp-snapshot-target")]
    {
        memory.add(kind, json!({ "metadata": { "namespace": "n", "name": name } }));
    }
    assert_eq!(run(&memory, &directory, Server::Decant), Ok(Ending::Done));
    let dv = memory.find(Kind::DataVolume, "copy").unwrap();
    assert_eq!(
        dv["spec"],
        json!({ "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": {} })
    );
    assert_eq!(memory.find(Kind::CloneSource, "copy"), None);
    assert_eq!(memory.find(Kind::PersistentVolumeClaim, "tmp-pvc-target"), None);
    assert_eq!(memory.find(Kind::VolumeSnapshot, "tmp-snapshot-target"), None);
}

#[test]
fn labels_owners_and_the_users_annotations_are_kept_and_state_of_the_stuck_clone_is_not() {
    for server in [Server::Cdi, Server::Decant] {
        let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
        run(&memory, &directory, server).unwrap();
        let metadata = &memory.find(Kind::DataVolume, "copy").unwrap()["metadata"];
        assert_eq!(metadata["labels"]["instancetype.kubevirt.io/default-preference"], "linux");
        assert_eq!(metadata["labels"]["team"], "a");
        assert_eq!(metadata["annotations"], json!({ "example.com/note": "mine" }));
        assert_eq!(metadata["ownerReferences"][0]["uid"], "o");
    }
}

#[test]
fn the_objects_are_in_files_before_anything_is_changed() {
    let (mut memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    memory.writes_max = Some(0);
    run(&memory, &directory, Server::Cdi).unwrap_err();
    let files = Files::new(directory.path(), &Key::new("n", "copy"));
    let text = std::fs::read_to_string(files.original).unwrap();
    let original: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(original["items"][0]["metadata"]["uid"], "dv");
    assert_eq!(original["items"][0]["spec"]["source"]["pvc"]["name"], "golden");
    assert_eq!(original["items"][1]["kind"], "PersistentVolumeClaim");
    let blocked = tempfile::tempdir().unwrap();
    let mut rescue = rescue(&memory, &blocked, Server::Cdi);
    rescue.directory = blocked.path().join("missing");
    let why = rescue.run(|| Ok(true)).unwrap_err().to_string();
    assert!(why.contains("nothing was changed"), "{why}");
    assert!(memory.find(Kind::DataVolume, "copy").is_some());
}

#[test]
fn a_rescue_that_was_interrupted_at_any_write_completes_when_it_is_repeated() {
    for server in [Server::Cdi, Server::Decant] {
        for most in 0..5 {
            let (mut memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
            memory.writes_max = Some(most);
            let first = run(&memory, &directory, server);
            memory.writes_max = None;
            let second = run(&memory, &directory, server);
            assert_eq!(second, Ok(Ending::Done), "{server:?} {most} {first:?} {:?}", memory.writes);
            let dv = memory.find(Kind::DataVolume, "copy").unwrap();
            assert_ne!(dv["metadata"]["uid"], "dv", "{server:?} {most}");
            assert_eq!(dv["metadata"]["labels"]["team"], "a");
            assert_eq!(memory.find(Kind::CloneSource, "copy").is_some(), server == Server::Cdi);
        }
    }
}

#[test]
fn a_deletion_that_takes_long_ends_with_a_message_and_continues_later() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    run(&memory, &directory, Server::Decant).unwrap();
    let mut held = memory.find(Kind::DataVolume, "copy").unwrap();
    let plan = Files::new(directory.path(), &Key::new("n", "copy")).read().unwrap().unwrap();
    held["metadata"]["uid"] = plan.data_volume_uid.as_str().into();
    held["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    memory.add(Kind::DataVolume, held);
    let why = run(&memory, &directory, Server::Decant).unwrap_err();
    assert!(why.contains("example.com/hold") && why.contains("again"), "{why}");
    memory.objects.lock().unwrap().remove(&(Kind::DataVolume, Key::new("n", "copy")));
    assert_eq!(run(&memory, &directory, Server::Decant), Ok(Ending::Done));
    assert!(memory.find(Kind::DataVolume, "copy").is_some());
}

/// What a case changes in the cluster.
type Prepare = fn(&Memory);

#[test]
fn what_may_hold_data_or_is_used_or_has_no_source_is_refused_and_left_alone() {
    let cases: [(&str, Prepare); 8] = [
        ("has succeeded", |memory| {
            memory.change(Kind::DataVolume, "copy", |dv| dv["status"]["phase"] = "Succeeded".into());
        }),
        ("its phase is \"CloneInProgress\"", |memory| {
            memory.change(Kind::DataVolume, "copy", |dv| dv["status"]["phase"] = "CloneInProgress".into());
        }),
        ("may hold data", |memory| {
            memory.change(Kind::PersistentVolumeClaim, "copy", |claim| {
                claim["spec"]["volumeName"] = "pv-2".into();
            });
        }),
        ("used by pod virt-launcher-vm", |memory| {
            let volumes = json!([{ "name": "disk", "persistentVolumeClaim": { "claimName": "copy" } }]);
            memory.add(
                Kind::Pod,
                json!({ "metadata": { "namespace": "n", "name": "virt-launcher-vm" }, "spec": { "volumes": volumes },
                        "status": { "phase": "Pending" } }),
            );
        }),
        ("does not exist any more", |memory| {
            memory.objects.lock().unwrap().remove(&(Kind::PersistentVolumeClaim, Key::new("n", "golden")));
        }),
        ("has no volume yet", |memory| {
            memory.change(Kind::PersistentVolumeClaim, "golden", |claim| {
                claim["status"]["phase"] = "Pending".into();
            });
        }),
        ("VolumeSnapshot n/s", |memory| {
            memory.change(Kind::DataVolume, "copy", |dv| {
                dv["spec"]["source"] = json!({ "snapshot": { "namespace": "n", "name": "s" } });
            });
        }),
        ("nothing allows", |memory| {
            let mut golden = memory.find(Kind::PersistentVolumeClaim, "golden").unwrap();
            golden["metadata"]["namespace"] = "images".into();
            memory.add(Kind::PersistentVolumeClaim, golden);
            memory.change(Kind::DataVolume, "copy", |dv| {
                dv["spec"]["source"]["pvc"]["namespace"] = "images".into();
            });
        }),
    ];
    for (word, prepare) in cases {
        let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
        prepare(&memory);
        let why = run(&memory, &directory, Server::Cdi).unwrap_err();
        assert!(why.contains(word), "{word}: {why}");
        assert_eq!(*memory.writes.lock().unwrap(), [""; 0], "{word}");
        assert_eq!(files(&directory), 0, "{word}");
    }
}

#[test]
fn consent_of_the_other_namespace_is_enough() {
    let (memory, directory) = (stuck("NamespaceTransferInProgress"), tempfile::tempdir().unwrap());
    let mut golden = memory.find(Kind::PersistentVolumeClaim, "golden").unwrap();
    golden["metadata"]["namespace"] = "images".into();
    memory.add(Kind::PersistentVolumeClaim, golden);
    memory.change(Kind::DataVolume, "copy", |dv| dv["spec"]["source"]["pvc"]["namespace"] = "images".into());
    memory.add(
        Kind::ReferenceGrant,
        json!({ "metadata": { "namespace": "images", "name": "g" }, "spec": {
            "from": [{ "group": "decant.dev", "kind": "CloneSource", "namespace": "n" }],
            "to": [{ "group": "", "kind": "PersistentVolumeClaim" }] } }),
    );
    assert_eq!(run(&memory, &directory, Server::Cdi), Ok(Ending::Done));
    let source = memory.find(Kind::CloneSource, "copy").unwrap();
    assert_eq!(source["spec"]["source"]["namespace"], "images");
}

#[test]
fn nothing_is_changed_without_confirmation_or_with_dry_run() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    let refused = rescue(&memory, &directory, Server::Cdi).run(|| Ok(false));
    assert_eq!(refused, Ok(Ending::Done));
    let dry = Rescue { dry_run: true, ..rescue(&memory, &directory, Server::Cdi) };
    assert_eq!(dry.run(|| panic!("nothing is asked")), Ok(Ending::Done));
    assert_eq!(*memory.writes.lock().unwrap(), [""; 0]);
    assert_eq!(files(&directory), 0);
}

#[test]
fn the_template_of_a_virtual_machine_is_changed_so_that_it_creates_the_copy() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    memory.change(Kind::DataVolume, "copy", |dv| {
        dv["metadata"]["ownerReferences"] = json!([{ "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm", "uid": "vm",
                                                     "controller": true }]);
    });
    let entry = |name: &str| json!({ "metadata": { "name": name }, "spec": { "source": { "pvc": { "name": "golden", "namespace": "n" } } } });
    memory.add(
        Kind::VirtualMachine,
        json!({ "metadata": { "namespace": "n", "name": "vm", "uid": "vm" },
                "spec": { "dataVolumeTemplates": [entry("other"), entry("copy")] } }),
    );
    // KubeVirt is faster, and creates it from the template.
    let source = json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": "copy" });
    *memory.recreates.lock().unwrap() = Some(json!({ "metadata": { "namespace": "n", "name": "copy" },
        "spec": { "storage": { "dataSourceRef": source } } }));
    assert_eq!(run(&memory, &directory, Server::Cdi), Ok(Ending::Done));
    let templates = &memory.find(Kind::VirtualMachine, "vm").unwrap()["spec"]["dataVolumeTemplates"];
    assert_eq!(templates[0], entry("other"));
    assert_eq!(templates[1]["spec"]["storage"]["dataSourceRef"], source);
    assert_eq!(templates[1]["spec"].get("source"), None);
    let writes = memory.writes.lock().unwrap().clone();
    assert!(!writes.contains(&"create DataVolume copy".to_owned()), "{writes:?}");
}

#[test]
fn a_data_volume_that_another_controller_creates_with_the_earlier_source_is_reported() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    *memory.recreates.lock().unwrap() = Some(json!({ "metadata": { "namespace": "n", "name": "copy" },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": {} } }));
    let why = run(&memory, &directory, Server::Cdi).unwrap_err();
    assert!(why.contains("by another controller"), "{why}");
}

#[test]
fn a_clone_source_of_another_source_is_not_used() {
    let (memory, directory) = (stuck("CSICloneInProgress"), tempfile::tempdir().unwrap());
    memory.add(
        Kind::CloneSource,
        json!({ "metadata": { "namespace": "n", "name": "copy" }, "spec": { "source": { "name": "other" } } }),
    );
    run(&memory, &directory, Server::Cdi).unwrap();
    let dv = memory.find(Kind::DataVolume, "copy").unwrap();
    assert_eq!(dv["spec"]["storage"]["dataSourceRef"]["name"], "copy-rescue");
    assert!(memory.find(Kind::CloneSource, "copy-rescue").is_some());
}

#[test]
fn the_cause_is_explained_in_plain_words() {
    let explain = |memory: &Memory| {
        let found = StuckDataVolume::read(memory, &Key::new("n", "copy")).unwrap();
        diagnosis::explain(memory, &found).join("\n")
    };
    let memory = stuck("CSICloneInProgress");
    let text = explain(&memory);
    assert!(text.contains("clone PVC n/golden into the temporary PVC n/tmp-pvc-target"), "{text}");
    assert!(text.contains("a driver clones only its own volumes"), "{text}");
    warn(&memory, Kind::PersistentVolumeClaim, "tmp-pvc-target", "source volume is encrypted");
    warn(&memory, Kind::PersistentVolumeClaim, "copy", "source volume is encrypted");
    let text = explain(&memory);
    assert_eq!(text.matches("source volume is encrypted").count(), 1, "{text}");
    assert!(text.contains("ProvisioningFailed"), "{text}");

    let memory = stuck("SnapshotForSmartCloneInProgress");
    memory.add(
        Kind::VolumeSnapshot,
        json!({ "metadata": { "namespace": "n", "name": "tmp-snapshot-target" },
                "status": { "error": { "message": "quota of snapshots" } } }),
    );
    assert!(explain(&memory).contains("failed: quota of snapshots"));
    memory.change(Kind::VolumeSnapshot, "tmp-snapshot-target", |snapshot| {
        snapshot.as_object_mut().unwrap().remove("status");
    });
    assert!(explain(&memory).contains("no snapshot controller serves it"));

    let memory = stuck("ExpansionInProgress");
    memory.change(Kind::PersistentVolumeClaim, "copy", |claim| {
        claim["spec"]["storageClassName"] = "slow".into();
    });
    assert!(explain(&memory).contains("No error is recorded"));
}
