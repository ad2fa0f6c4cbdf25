//! Users who interfere. In the namespace of the source they can create, change and delete PVCs and pods; in that of the
//! target they can also write its data source. They can write no volumes.

use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::{Content, NODE, State, key, uid};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::scenarios::{
    ACROSS, DATA, assert_complete, assert_gone, prime, prime_in, size, target, volumes,
    with_change_after_each_write,
};

fn annotate(state: &mut State, name: &Key, annotations: &Value) {
    state.change(Kind::PersistentVolumeClaim, name, |claim| {
        for (name, value) in annotations.as_object().unwrap() {
            if !claim["metadata"]["annotations"].is_object() {
                claim["metadata"]["annotations"] = json!({});
            }
            if value.is_null() {
                claim["metadata"]["annotations"].as_object_mut().unwrap().remove(name);
            } else {
                claim["metadata"]["annotations"][name] = value.clone();
            }
        }
    });
}

/// Removes all finalizers and deletes the claim, as users with the right to change it can.
fn force_away(state: &mut State, name: &Key) {
    state.change(Kind::PersistentVolumeClaim, name, |claim| claim["metadata"]["finalizers"] = json!([]));
    state.delete(Kind::PersistentVolumeClaim, name);
}

fn run_pod_on(state: &mut State, claim: &Key) {
    let pod = json!({
        "metadata": { "namespace": claim.namespace, "name": "stranger" },
        "spec": { "nodeName": NODE, "containers": [{ "name": "c", "volumeDevices": [{ "name": "v" }] }],
                  "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": claim.name } }] },
        "status": { "phase": "Running" },
    });
    state.add(Kind::Pod, pod).unwrap();
}

/// A second source, which no target requests.
fn add_claim_with(world_state: &mut State, name: &Key, data: &str) {
    let mut spec = size();
    let volume = format!("{}-{}", name.namespace, name.name);
    spec["volumeName"] = volume.as_str().into();
    let claim = json!({ "metadata": { "namespace": name.namespace, "name": name.name }, "spec": spec });
    let claim = world_state.add(Kind::PersistentVolumeClaim, claim).unwrap();
    world_state
        .add(
            Kind::PersistentVolume,
            json!({ "metadata": { "name": volume }, "status": { "phase": "Bound" },
                    "spec": { "persistentVolumeReclaimPolicy": "Retain", "claimRef": {
                        "namespace": name.namespace, "name": name.name, "uid": uid(&claim) } } }),
        )
        .unwrap();
    world_state.content.insert(volume, Content::Whole(data.to_owned()));
}

#[test]
fn a_prime_that_is_replaced_by_a_copy_is_not_used() {
    let change = |state: &mut State| {
        let Some(prime) = prime_in(state) else { return };
        force_away(state, &key(&prime));
        let mut copy = prime.clone();
        copy["metadata"]["finalizers"] = json!([]);
        copy["spec"].as_object_mut().unwrap().remove("volumeName");
        state.add(Kind::PersistentVolumeClaim, copy).unwrap();
    };
    with_change_after_each_write(ACROSS, change, |world, what| {
        // After the volume was handed over, the copy is a PVC like any other.
        if let Some(copy) = prime(&world.kubernetes) {
            let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
            assert_eq!(claim["status"]["phase"], "Bound", "{what}: {:#?}", last(&world.kubernetes));
            world.kubernetes.user_delete(Kind::PersistentVolumeClaim, &key(&copy));
            world.settle();
        }
        assert_complete(ACROSS, world, what);
    });
}

#[test]
fn what_users_write_on_a_prime_changes_nothing() {
    let change = |state: &mut State| {
        add_claim_with(state, &Key::new("s", "evil"), "evil");
        let Some(prime) = prime_in(state) else { return };
        let forged = json!({
            "k8s.io/CloneRequest": "s/evil", "k8s.io/CloneOf": "true", "decant.dev/populates": null,
            "decant.dev/digest": "decant1:7:evil", "decant.dev/outcome": "forged", "decant.dev/target-pod": "x y",
            "decant.dev/source-pod": null, "cdi.kubevirt.io/storage.pod.phase": "Succeeded",
            "cdi.kubevirt.io/storage.pod.serviceAccountName": "admin",
        });
        annotate(state, &key(&prime), &forged);
    };
    with_change_after_each_write(ACROSS, change, |world, what| {
        // The stranger's own objects are no leftovers.
        world.kubernetes.user_delete(Kind::PersistentVolumeClaim, &Key::new("s", "evil"));
        world.kubernetes.user_delete(Kind::PersistentVolume, &Key::new("", "s-evil"));
        world.settle();
        assert_complete(ACROSS, world, what);
    });
}

#[test]
fn a_prime_that_is_deleted_at_any_time_is_created_again() {
    for is_forced in [false, true] {
        let change = move |state: &mut State| {
            let Some(prime) = prime_in(state) else { return };
            if is_forced {
                force_away(state, &key(&prime));
            } else {
                state.delete(Kind::PersistentVolumeClaim, &key(&prime));
            }
        };
        with_change_after_each_write(ACROSS, change, |world, what| assert_complete(ACROSS, world, what));
    }
}

#[test]
fn the_volume_is_not_handed_over_while_a_pod_has_mounted_it() {
    for attempt in 0..3 {
        let change = move |state: &mut State| {
            let Some(prime) = prime_in(state) else { return };
            if prime["spec"]["volumeName"].is_null() {
                return;
            }
            run_pod_on(state, &key(&prime));
            if attempt == 1 {
                // Without the protection of Kubernetes.
                force_away(state, &key(&prime));
            }
            if attempt == 2 {
                // Without what leads from the target to its prime.
                annotate(state, &key(&prime), &json!({ "decant.dev/populates": null }));
                state.delete(Kind::CloneSource, &Key::new("t", "from"));
            }
        };
        with_change_after_each_write(ACROSS, change, |world, what| {
            let pod = Key::new("s", "stranger");
            if world.kubernetes.find(Kind::Pod, &pod).is_some() && attempt != 1 {
                let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
                assert_eq!(claim["status"]["phase"], "Pending", "{what}: {:#?}", last(&world.kubernetes));
            }
            assert_eq!(world.kubernetes.lock().violations, [""; 0], "{what}: {:#?}", last(&world.kubernetes));
            world.kubernetes.user_delete(Kind::Pod, &pod);
            world.settle();
            if attempt == 2 && world.kubernetes.find(Kind::CloneSource, &Key::new("t", "from")).is_none() {
                let source = json!({ "metadata": { "namespace": "t", "name": "from" }, "spec": { "source": {
                    "name": "golden", "namespace": "s" } } });
                world.kubernetes.add(Kind::CloneSource, source);
                world.settle();
            }
            assert_complete(ACROSS, world, what);
        });
    }
}

#[test]
fn a_finalizer_of_a_stranger_on_the_prime_does_not_hold_the_target() {
    let change = |state: &mut State| {
        if let Some(prime) = prime_in(state) {
            state.change(Kind::PersistentVolumeClaim, &key(&prime), |claim| {
                claim["metadata"]["finalizers"].as_array_mut().unwrap().push("stranger/hold".into());
            });
        }
        state.delete(Kind::PersistentVolumeClaim, &target());
    };
    with_change_after_each_write(ACROSS, change, |world, what| {
        let kubernetes = world.kubernetes.clone();
        assert_eq!(
            kubernetes.find(Kind::PersistentVolumeClaim, &target()),
            None,
            "{what}: {:#?}",
            last(&kubernetes)
        );
        if let Some(prime) = prime(&kubernetes) {
            assert!(!prime["metadata"]["deletionTimestamp"].is_null(), "{what}: {:#?}", last(&kubernetes));
            kubernetes.lock().change(Kind::PersistentVolumeClaim, &key(&prime), |claim| {
                let all = claim["metadata"]["finalizers"].as_array().unwrap();
                let kept: Vec<&Value> = all.iter().filter(|name| **name != "stranger/hold").collect();
                claim["metadata"]["finalizers"] = json!(kept);
            });
            world.settle();
        }
        assert_gone(ACROSS, world, what);
    });
}

#[test]
fn a_claim_with_the_name_of_the_prime_is_reported_and_left_alone() {
    let mut world = ACROSS.world();
    let name = format!(
        "decant-prime-{}",
        uid(&world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap())
    );
    let stranger = Key::new("s", &name);
    world.kubernetes.add(
        Kind::PersistentVolumeClaim,
        json!({ "metadata": { "namespace": "s", "name": name }, "spec": size() }),
    );
    world.settle();
    assert!(world.kubernetes.find(Kind::PersistentVolumeClaim, &stranger).is_some());
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    let said = claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"].as_str().unwrap();
    assert!(said.contains(&name), "{said}");
    world.kubernetes.user_delete(Kind::PersistentVolumeClaim, &stranger);
    world.settle();
    assert_complete(ACROSS, &world, "after the stranger's PVC is gone");
}

#[test]
fn records_of_another_target_are_of_no_use() {
    let mut world = ACROSS.world();
    world.settle();
    let complete = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    let mut spec = size();
    spec["dataSourceRef"] = complete["spec"]["dataSourceRef"].clone();
    let annotations = complete["metadata"]["annotations"].clone();
    world.kubernetes.add(
        Kind::PersistentVolumeClaim,
        json!({ "metadata": { "namespace": "t", "name": "second", "annotations": annotations }, "spec": spec }),
    );
    world.settle();
    assert_eq!(world.kubernetes.lock().violations, [""; 0]);
    let second = world.kubernetes.find(Kind::PersistentVolumeClaim, &Key::new("t", "second")).unwrap();
    assert_eq!(second["status"]["phase"], "Bound", "{second:#} {:#?}", last(&world.kubernetes));
    assert_ne!(second["spec"]["volumeName"], complete["spec"]["volumeName"]);
    assert_eq!(volumes(&world.kubernetes).len(), 2);
}

#[test]
fn cdis_mark_on_a_target_ends_no_population() {
    let change = |state: &mut State| annotate(state, &target(), &json!({ "k8s.io/CloneOf": "true" }));
    with_change_after_each_write(ACROSS, change, |world, what| assert_complete(ACROSS, world, what));
}

#[test]
fn a_target_that_says_it_is_a_prime_is_a_target() {
    let change =
        |state: &mut State| annotate(state, &target(), &json!({ "decant.dev/populates": "s/golden" }));
    with_change_after_each_write(ACROSS, change, |world, what| assert_complete(ACROSS, world, what));
}

#[test]
fn a_target_whose_records_are_removed_is_filled_again() {
    let change = |state: &mut State| {
        annotate(
            state,
            &target(),
            &json!({
            "decant.dev/prime": null, "decant.dev/populated-volume": null, "decant.dev/outcome": null }),
        );
    };
    with_change_after_each_write(ACROSS, change, |world, what| {
        assert_eq!(world.kubernetes.lock().violations, [""; 0], "{what}: {:#?}", last(&world.kubernetes));
        let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
        assert_eq!(claim["status"]["phase"], "Bound", "{what}: {:#?}", last(&world.kubernetes));
        assert!(prime(&world.kubernetes).is_none(), "{what}: {:#?}", last(&world.kubernetes));
    });
}

#[test]
fn without_permission_nothing_is_created_and_a_denial_tells_nothing_about_the_source() {
    let mut told = Vec::new();
    for exists in [true, false] {
        let kubernetes = ACROSS.cluster();
        if exists {
            add_claim_with(&mut kubernetes.lock(), &Key::new("x", "vault"), "secret");
        }
        kubernetes.add(
            Kind::CloneSource,
            json!({ "metadata": { "namespace": "t", "name": "from" }, "spec": { "source": {
            "name": "vault", "namespace": "x" } } }),
        );
        ACROSS.ask(&kubernetes);
        let mut world = RunningCluster::new(kubernetes);
        world.settle();
        assert!(prime(&world.kubernetes).is_none());
        assert!(world.kubernetes.all(Kind::Pod).is_empty());
        let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
        assert_eq!(claim["status"]["phase"], "Pending");
        told.push(claim["metadata"]["annotations"].clone());
    }
    assert!(
        told[0]["cdi.kubevirt.io/cloneError"].as_str().is_some_and(|text| text.contains("Nothing allows"))
    );
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_source_that_changes_during_the_clone_gives_no_access_and_no_wrong_digest() {
    for (namespace, name) in [("x", "vault"), ("s", "other")] {
        let change = move |state: &mut State| {
            add_claim_with(state, &Key::new(namespace, name), name);
            if namespace == "s" {
                annotate(state, &Key::new("s", "other"), &json!({ "decant.dev/allow-clone-to": "t" }));
            }
            state.change(Kind::CloneSource, &Key::new("t", "from"), |source| {
                source["spec"]["source"] = json!({ "name": name, "namespace": namespace });
            });
        };
        with_change_after_each_write(ACROSS, change, |world, what| {
            let kubernetes = &world.kubernetes;
            let what = format!("{what}: {:#?}", last(kubernetes));
            assert_eq!(kubernetes.lock().violations, [""; 0], "{what}");
            let claim = kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
            assert!(kubernetes.all(Kind::Pod).iter().all(|pod| key(pod).namespace != "x"), "{what}");
            if claim["status"]["phase"] != "Bound" {
                assert_eq!(namespace, "x", "{what}");
                return;
            }
            let volume = claim["spec"]["volumeName"].as_str().unwrap();
            let content = kubernetes.lock().content.get(volume).cloned();
            let digest = claim["metadata"]["annotations"]["decant.dev/digest"].as_str().unwrap();
            match content {
                Some(Content::Whole(data)) if data == DATA => {
                    assert_eq!(digest, "decant1:7:dataofgolden", "{what}");
                }
                Some(Content::Whole(data)) => {
                    assert_eq!((data.as_str(), digest), ("other", "decant1:7:other"), "{what}");
                }
                other => panic!("{other:?} {what}"),
            }
        });
    }
}

#[test]
fn a_data_source_that_goes_does_not_stop_a_running_clone() {
    let mut world = ACROSS.world();
    world.settle_until(|kubernetes| {
        kubernetes.all(Kind::Pod).iter().filter(|pod| pod["status"]["phase"] == "Running").count() == 2
    });
    world.kubernetes.user_delete(Kind::CloneSource, &Key::new("t", "from"));
    world.settle();
    assert_complete(ACROSS, &world, "the CloneSource is gone");
}

#[test]
fn a_claim_of_a_stranger_that_says_it_is_a_prime_stays_as_it_is() {
    let kubernetes = ACROSS.cluster();
    ACROSS.ask(&kubernetes);
    let of = |name: &str, annotations: Value| json!({ "metadata": { "namespace": "t", "name": name, "annotations": annotations }, "spec": size() });
    kubernetes.add(Kind::PersistentVolumeClaim, of("mine", json!({ "decant.dev/populates": "t/copy" })));
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    let mine = world.kubernetes.find(Kind::PersistentVolumeClaim, &Key::new("t", "mine")).unwrap();
    assert!(mine["metadata"]["deletionTimestamp"].is_null());
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    assert_ne!(claim["spec"]["volumeName"], mine["spec"]["volumeName"]);
    assert_eq!(claim["status"]["phase"], "Bound", "{:#?}", last(&world.kubernetes));
    assert_eq!(world.kubernetes.lock().violations, [""; 0]);
}

#[test]
fn a_quota_in_the_namespace_of_the_source_is_reported_on_the_target() {
    let kubernetes = ACROSS.cluster();
    kubernetes.lock().full.push("s".to_owned());
    ACROSS.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle();
    // A refusal that lasts less than a second is not reported; the model's rounds take no time.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.start();
    world.settle();
    assert!(prime(&world.kubernetes).is_none());
    world.kubernetes.lock().full.clear();
    world.start();
    world.settle();
    assert_complete(ACROSS, &world, "after the quota was raised");
}

#[test]
fn a_volume_that_is_bound_to_the_target_by_its_user_leaves_no_prime() {
    let change = |state: &mut State| {
        let claim = state.get(Kind::PersistentVolumeClaim, &target()).unwrap();
        if !claim["spec"]["volumeName"].is_null() {
            return;
        }
        let holder = json!({ "namespace": "t", "name": "copy", "uid": uid(claim) });
        annotate(state, &target(), &json!({ "test/bound-by-user": "true" }));
        state.content.insert("own".to_owned(), Content::Empty);
        state
            .add(
                Kind::PersistentVolume,
                json!({ "metadata": { "name": "own" }, "status": { "phase": "Available" },
                        "spec": { "persistentVolumeReclaimPolicy": "Retain", "claimRef": holder } }),
            )
            .unwrap();
    };
    with_change_after_each_write(ACROSS, change, |world, what| {
        let kubernetes = &world.kubernetes;
        let what = format!("{what}: {:#?}", last(kubernetes));
        let claim = kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
        assert!(prime(kubernetes).is_none(), "{what}");
        let left: Vec<Key> = volumes(kubernetes).iter().map(key).collect();
        if claim["spec"]["volumeName"] == "own" {
            assert_eq!(left, [Key::new("", "own")], "{what}");
        }
    });
}
