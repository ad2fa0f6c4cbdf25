//! Populations from a snapshot. Faults at each call are tested with all populations (`uninterrupted.rs`).

use decant_controller::objects::{Key, Kind};
use serde_json::{Value, json};

use crate::scenarios::{
    Asker, DATA, SNAPSHOT, Scenario, assert_complete, prime_in, restored, target,
    with_change_after_each_write,
};
use decant_controller_test_support::kubernetes::{Content, PROVISIONER, State, key, uid};
use decant_controller_test_support::running_cluster::{RunningCluster, last};

fn restored_in(state: &State) -> Option<Value> {
    let claims = state.all(Kind::PersistentVolumeClaim);
    claims.into_iter().find(|claim| key(claim).name.starts_with("decant-restored-"))
}

fn change_snapshot(state: &mut State, change: impl FnOnce(&mut Value)) {
    state.change(Kind::VolumeSnapshot, &Key::new("s", "golden"), change);
}

/// The error that the annotation of `claim` has.
fn error(claim: &Value) -> &str {
    claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"].as_str().unwrap_or_default()
}

#[test]
fn the_snapshot_is_read_and_not_its_claim() {
    for asker in [Asker::Claim, Asker::DataVolume] {
        let scenario = Scenario { asker, ..SNAPSHOT };
        let mut world = scenario.world();
        world.settle_until(|kubernetes| restored(kubernetes).is_some());
        let temporary = restored(&world.kubernetes).unwrap();
        assert_eq!(key(&temporary).namespace, "s", "in the namespace of the snapshot");
        assert_eq!(temporary["spec"]["resources"]["requests"]["storage"], "1Gi");
        assert_eq!(temporary["spec"]["dataSource"]["name"], "golden");
        scenario.run(&mut world);
        // It compares the content with that of the snapshot; the claim holds other data.
        assert_complete(scenario, &world, "a snapshot");
    }
}

#[test]
fn a_snapshot_that_is_not_ready_is_waited_for() {
    let kubernetes = SNAPSHOT.cluster();
    change_snapshot(&mut kubernetes.lock(), |snapshot| {
        snapshot["status"] = json!({ "readyToUse": false, "error": { "message": "disk on fire" } });
    });
    SNAPSHOT.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    assert!(error(&claim).contains("not ready to use: disk on fire"), "{claim:#}");
    assert_eq!(restored(&world.kubernetes), None);
    change_snapshot(&mut world.kubernetes.lock(), |snapshot| {
        snapshot["status"] = json!({
            "readyToUse": true, "restoreSize": "1Gi", "boundVolumeSnapshotContentName": "content" });
    });
    // No watch reports that; the next round does.
    world.start();
    world.settle();
    assert_complete(SNAPSHOT, &world, "after the snapshot is ready");
}

#[test]
fn a_content_that_belongs_to_another_snapshot_is_not_restored() {
    let kubernetes = SNAPSHOT.cluster();
    kubernetes.lock().change(Kind::VolumeSnapshotContent, &Key::new("", "content"), |content| {
        content["spec"]["volumeSnapshotRef"]["uid"] = "another".into();
    });
    SNAPSHOT.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    assert!(error(&claim).contains("belongs to another VolumeSnapshot"), "{claim:#}");
    assert_eq!(restored(&world.kubernetes), None);
}

#[test]
fn a_driver_without_a_class_is_reported() {
    let kubernetes = SNAPSHOT.cluster();
    kubernetes.lock().change(Kind::VolumeSnapshotContent, &Key::new("", "content"), |content| {
        content["spec"]["driver"] = "other.example".into();
    });
    SNAPSHOT.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    assert!(error(&claim).contains("no StorageClass has the provisioner \"other.example\""), "{claim:#}");
}

#[test]
fn a_temporary_claim_that_users_delete_is_restored_again() {
    let delete = |state: &mut State| {
        if let Some(temporary) = restored_in(state) {
            state.delete(Kind::PersistentVolumeClaim, &key(&temporary));
        }
    };
    with_change_after_each_write(SNAPSHOT, delete, |world, what| assert_complete(SNAPSHOT, world, what));
}

#[test]
fn a_claim_that_users_put_in_the_place_of_the_temporary_one_is_not_read() {
    let forge = |state: &mut State| {
        let Some(prime) = prime_in(state) else { return };
        // A PVC of this name that is created after the clone is complete is not deleted.
        let is_complete = !prime["metadata"]["annotations"]["decant.dev/outcome"].is_null();
        if is_complete || restored_in(state).is_some() || !prime["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let name = format!("decant-restored-{}", uid(&prime));
        let mut spec = crate::scenarios::size();
        spec["volumeName"] = "forged".into();
        let annotations = json!({ "decant.dev/restored-for": key(&prime).to_string() });
        let claim = json!({ "metadata": { "namespace": "s", "name": name, "annotations": annotations }, "spec": spec });
        let claim = state.add(Kind::PersistentVolumeClaim, claim).unwrap();
        let volume = json!({
            "metadata": { "name": "forged" }, "status": { "phase": "Bound" },
            "spec": { "persistentVolumeReclaimPolicy": "Delete",
                      "claimRef": { "namespace": "s", "name": name, "uid": uid(&claim) } } });
        state.add(Kind::PersistentVolume, volume).unwrap();
        state.content.insert("forged".to_owned(), Content::Whole("forged data".to_owned()));
    };
    with_change_after_each_write(SNAPSHOT, forge, |world, what| assert_complete(SNAPSHOT, world, what));
}

#[test]
fn the_record_of_the_temporary_claim_cannot_be_moved_to_another_one() {
    let mut world = SNAPSHOT.world();
    world.settle_until(|kubernetes| {
        restored(kubernetes).is_some_and(|claim| claim["status"]["phase"] == "Bound")
    });
    let prime = crate::scenarios::prime(&world.kubernetes).map(|prime| key(&prime)).unwrap();
    world.kubernetes.lock().change(Kind::PersistentVolumeClaim, &prime, |prime| {
        let record = prime["metadata"]["annotations"]["decant.dev/restored"].as_str().unwrap();
        let mut words: Vec<&str> = record.split(' ').collect();
        words[1] = "forged";
        prime["metadata"]["annotations"]["decant.dev/restored"] = words.join(" ").into();
    });
    world.start();
    world.settle();
    assert_complete(SNAPSHOT, &world, "the record was forged");
    let content = world.kubernetes.lock().content.clone();
    assert!(content.values().all(|content| *content != Content::Partial), "{:#?}", last(&world.kubernetes));
    assert!(content.values().any(|content| *content == Content::Whole(DATA.to_owned())));
}

/// A second snapshot that may be cloned, in the same namespace.
fn add_other_snapshot(state: &mut State) {
    let name = Key::new("s", "other");
    let snapshot = json!({
        "metadata": { "namespace": "s", "name": "other", "annotations": { "decant.dev/allow-clone-to": "t" } },
        "spec": { "source": { "persistentVolumeClaimName": "golden" } },
        "status": { "readyToUse": true, "restoreSize": "1Gi", "boundVolumeSnapshotContentName": "other" },
    });
    let snapshot = state.add(Kind::VolumeSnapshot, snapshot).unwrap();
    let content = json!({
        "metadata": { "name": "other" },
        "spec": { "driver": PROVISIONER, "sourceVolumeMode": "Block",
                  "volumeSnapshotRef": { "uid": uid(&snapshot) } },
    });
    state.add(Kind::VolumeSnapshotContent, content).unwrap();
    state.snapshots.insert(name, Content::Whole("other".to_owned()));
}

#[test]
fn what_was_restored_from_another_snapshot_is_not_read_by_new_pods() {
    let change = |state: &mut State| {
        let had_pods = state.trace.iter().any(|call| call.contains(" create Pod "));
        add_other_snapshot(state);
        state.change(Kind::CloneSource, &Key::new("t", "from"), |source| {
            source["spec"]["source"]["name"] = "other".into();
            source["metadata"]["annotations"] = json!({ "test/had-pods": had_pods.to_string() });
        });
    };
    with_change_after_each_write(SNAPSHOT, change, |world, what| {
        let kubernetes = &world.kubernetes;
        let what = format!("{what}: {:#?}", last(kubernetes));
        assert_eq!(kubernetes.lock().violations, [""; 0], "{what}");
        let claim = kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
        assert_eq!(claim["status"]["phase"], "Bound", "{what}");
        let volume = claim["spec"]["volumeName"].as_str().unwrap();
        let content = kubernetes.lock().content.get(volume).cloned();
        let digest = claim["metadata"]["annotations"]["decant.dev/digest"].as_str().unwrap();
        let is_of_other = content == Some(Content::Whole("other".to_owned()));
        assert!(is_of_other || content == Some(Content::Whole(DATA.to_owned())), "{content:?} {what}");
        assert_eq!(digest, if is_of_other { "decant1:7:other" } else { "decant1:7:dataofgolden" }, "{what}");
        let source = kubernetes.find(Kind::CloneSource, &Key::new("t", "from")).unwrap();
        let had_pods = source["metadata"]["annotations"]["test/had-pods"] == "true";
        assert!(is_of_other || had_pods, "{what}");
    });
}
