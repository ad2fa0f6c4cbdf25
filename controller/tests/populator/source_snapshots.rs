//! Clones of sources in use, of which a snapshot is taken. Faults at each call are tested with all populations
//! (`uninterrupted.rs`).

use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::{Content, State, key, uid};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::scenarios::{
    Asker, DATA, IN_USE, Scenario, assert_complete, prime_in, restored, target, with_change_after_each_write,
};

/// The snapshot that the controller took, if there is one.
fn taken(state: &State) -> Option<Value> {
    let snapshots = state.all(Kind::VolumeSnapshot);
    snapshots.into_iter().find(|snapshot| key(snapshot).name.starts_with("decant-snapshot-"))
}

/// The error that the annotation of the target has.
fn error(world: &RunningCluster) -> String {
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_snapshot_of_the_source_is_cloned_and_deleted() {
    for asker in [Asker::Claim, Asker::DataVolume] {
        let scenario = Scenario { asker, ..IN_USE };
        let mut world = scenario.world();
        world.settle_until(|kubernetes| restored(kubernetes).is_some());
        let snapshot = taken(&world.kubernetes.lock()).unwrap();
        assert_eq!(key(&snapshot).namespace, "s", "in the namespace of the source");
        assert_eq!(snapshot["spec"]["volumeSnapshotClassName"], "snapshots");
        assert_eq!(snapshot["spec"]["source"]["persistentVolumeClaimName"], "golden");
        scenario.run(&mut world);
        assert_complete(scenario, &world, "in use");
        let events = world.kubernetes.all(Kind::Event);
        let told = events.iter().filter(|event| event["reason"] == "SourceSnapshotCloned");
        let most = if asker == Asker::Claim { 1 } else { 2 };
        assert!((1..=most).contains(&told.count()), "{events:#?}");
        assert!(world.kubernetes.find(Kind::Pod, &Key::new("s", "vm")).is_some());
    }
}

#[test]
fn a_snapshot_is_taken_once_its_user_asks_for_it() {
    let kubernetes = IN_USE.cluster();
    let asked = Scenario { is_in_use: false, ..IN_USE };
    asked.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    assert!(error(&world).contains("pod s/vm using PersistentVolumeClaim golden"), "{}", error(&world));
    assert_eq!(taken(&world.kubernetes.lock()), None);
    world.kubernetes.lock().change(Kind::CloneSource, &Key::new("t", "from"), |source| {
        source["spec"]["sourceInUse"] = "snapshot".into();
    });
    world.settle();
    assert_complete(IN_USE, &world, "asked later");
}

#[test]
fn a_driver_without_a_class_of_snapshots_is_reported() {
    let kubernetes = IN_USE.cluster();
    kubernetes.lock().change(Kind::VolumeSnapshotClass, &Key::new("", "snapshots"), |class| {
        class["driver"] = "other.example".into();
    });
    IN_USE.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    assert!(
        error(&world).contains("no VolumeSnapshotClass has the driver \"disks.example\""),
        "{}",
        error(&world)
    );
    assert_eq!(taken(&world.kubernetes.lock()), None);
    world.kubernetes.user_delete(Kind::Pod, &Key::new("s", "vm"));
    world.start();
    world.settle();
    let scenario = Scenario { is_in_use: false, ..IN_USE };
    assert_complete(scenario, &world, "not in use any more");
}

#[test]
fn the_class_of_snapshots_is_that_of_the_profile_and_else_the_default() {
    let class = |with_profile: bool| {
        let kubernetes = IN_USE.cluster();
        let default = json!({ "snapshot.storage.kubernetes.io/is-default-class": "true" });
        for (name, annotations) in [("a", json!({})), ("b", default), ("c", json!({}))] {
            let metadata = json!({ "name": name, "annotations": annotations });
            kubernetes
                .add(Kind::VolumeSnapshotClass, json!({ "metadata": metadata, "driver": "disks.example" }));
        }
        if with_profile {
            let profile = json!({ "metadata": { "name": "disks" }, "status": { "snapshotClass": "c" } });
            kubernetes.add(Kind::StorageProfile, profile);
        }
        IN_USE.ask(&kubernetes);
        let mut world = RunningCluster::new(kubernetes);
        world.settle_until(|kubernetes| taken(&kubernetes.lock()).is_some());
        let snapshot = taken(&world.kubernetes.lock()).unwrap();
        snapshot["spec"]["volumeSnapshotClassName"].as_str().unwrap().to_owned()
    };
    assert_eq!((class(true).as_str(), class(false).as_str()), ("c", "b"));
}

#[test]
fn a_snapshot_that_users_delete_is_taken_again_until_it_is_restored() {
    let delete = |state: &mut State| {
        if let Some(snapshot) = taken(state) {
            state.delete(Kind::VolumeSnapshot, &key(&snapshot));
        }
    };
    with_change_after_each_write(IN_USE, delete, |world, what| assert_complete(IN_USE, world, what));
}

#[test]
fn a_snapshot_that_users_put_in_the_place_of_the_own_one_is_not_read() {
    let forge = |state: &mut State| {
        let Some(prime) = prime_in(state) else { return };
        // A VolumeSnapshot of this name that is created after the clone is complete is not deleted.
        let is_complete = !prime["metadata"]["annotations"]["decant.dev/outcome"].is_null();
        if is_complete || !prime["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let name = Key::new("s", format!("decant-snapshot-{}", uid(&prime)));
        if state.get(Kind::VolumeSnapshot, &name).is_some() {
            state.delete(Kind::VolumeSnapshot, &name);
        }
        let metadata = json!({ "namespace": "s", "name": name.name,
                               "annotations": { "decant.dev/snapshot-for": key(&prime).to_string() } });
        let status =
            json!({ "readyToUse": true, "restoreSize": "1Gi", "boundVolumeSnapshotContentName": "content" });
        let forged =
            state.add(Kind::VolumeSnapshot, json!({ "metadata": metadata, "status": status })).unwrap();
        let spec = json!({ "driver": "disks.example", "sourceVolumeMode": "Block", "volumeSnapshotRef": { "uid": uid(&forged) } });
        state
            .add(Kind::VolumeSnapshotContent, json!({ "metadata": { "name": "content" }, "spec": spec }))
            .unwrap();
        state.snapshots.insert(name, Content::Whole("forged data".to_owned()));
    };
    with_change_after_each_write(IN_USE, forge, |world, what| assert_complete(IN_USE, world, what));
}

#[test]
fn the_record_of_the_snapshot_cannot_be_moved_to_another_one() {
    let mut world = IN_USE.world();
    world.settle_until(|kubernetes| taken(&kubernetes.lock()).is_some());
    let name = prime_in(&world.kubernetes.lock()).map(|prime| key(&prime)).unwrap();
    world.kubernetes.lock().change(Kind::PersistentVolumeClaim, &name, |prime| {
        let annotations = &mut prime["metadata"]["annotations"];
        let record = annotations["decant.dev/source-snapshot"].as_str().unwrap_or_default();
        let forged: Vec<&str> = record.split(' ').map(|word| if word == "s" { "t" } else { word }).collect();
        annotations["decant.dev/source-snapshot"] = forged.join(" ").into();
    });
    world.start();
    world.settle();
    assert_complete(IN_USE, &world, "the record was forged");
    let content = world.kubernetes.lock().content.clone();
    assert!(content.values().any(|content| *content == Content::Whole(DATA.to_owned())));
    assert!(content.values().all(|content| *content != Content::Partial), "{:#?}", last(&world.kubernetes));
}

#[test]
fn another_claim_in_the_place_of_the_source_is_cloned_and_not_the_old_snapshot() {
    let mut world = IN_USE.world();
    world.settle_until(|kubernetes| restored(kubernetes).is_some());
    let source = Key::new("s", "golden");
    let (metadata, spec) = {
        let old = world.kubernetes.find(Kind::PersistentVolumeClaim, &source).unwrap();
        (
            json!({ "namespace": "s", "name": "golden", "annotations": old["metadata"]["annotations"] }),
            crate::scenarios::size(),
        )
    };
    world.kubernetes.user_delete(Kind::Pod, &Key::new("s", "vm"));
    world.kubernetes.user_delete(Kind::PersistentVolumeClaim, &source);
    for _ in 0..8 {
        world.kubernetes.tick();
    }
    assert_eq!(world.kubernetes.find(Kind::PersistentVolumeClaim, &source), None);
    world.kubernetes.add_filled(&metadata, spec, DATA);
    world.start();
    world.settle();
    assert_complete(Scenario { is_in_use: false, ..IN_USE }, &world, "the source was replaced");
}

#[test]
fn an_error_of_the_snapshot_is_reported_and_withdrawing_the_wish_deletes_the_snapshot() {
    let mut world = IN_USE.world();
    world.settle_until(|kubernetes| taken(&kubernetes.lock()).is_some());
    let name = taken(&world.kubernetes.lock()).map(|snapshot| key(&snapshot)).unwrap();
    world.kubernetes.lock().change(Kind::VolumeSnapshot, &name, |snapshot| {
        snapshot["status"] = json!({ "readyToUse": false, "error": { "message": "disk on fire" } });
    });
    world.settle();
    assert!(error(&world).ends_with("disk on fire"), "{}", error(&world));
    world.kubernetes.lock().change(Kind::CloneSource, &Key::new("t", "from"), |source| {
        source["spec"]["sourceInUse"] = "wait".into();
    });
    world.settle();
    assert_eq!(taken(&world.kubernetes.lock()), None);
    assert!(error(&world).contains("pod s/vm using"), "{}", error(&world));
}
