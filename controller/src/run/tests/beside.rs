//! Tests of a controller with `--beside-cdi`.

use super::*;
use crate::objects::annotations::{CLONE_OF, CLONE_REQUEST};

fn consent(bench: &Bench) {
    bench.source("s-1");
    let consent = json!({"metadata": {"annotations": {"decant.dev/allow-clone-to": "b"}}});
    bench.set(Kind::PersistentVolumeClaim, &golden(), &consent);
}

/// What the controller has not made for itself.
fn objects(bench: &Bench) -> BTreeMap<(Kind, Key), Value> {
    let objects = bench.cluster.objects().clone();
    objects.into_iter().filter(|((_, key), _)| key.namespace != OWN).collect()
}

#[test]
fn beside_cdi_a_claim_with_the_annotation_of_a_clone_is_left_alone() {
    for (scope, is_served) in [(Scope::All, true), (Scope::CloneSources, false)] {
        let bench = Bench::with_scope(scope);
        consent(&bench);
        let request = json!({CLONE_REQUEST: "a/golden"});
        let object = json!({"metadata": {"uid": "c-1", "annotations": request}, "spec": size(), "status": {"phase": "Bound"}});
        bench.put(Kind::PersistentVolumeClaim, &copy(), object);
        let before = objects(&bench);
        bench.rounds(3);
        assert_eq!(objects(&bench) != before, is_served, "{scope:?}");
    }
}

#[test]
fn beside_cdi_data_volumes_and_claims_with_a_volume_clone_source_are_left_alone() {
    let bench = Bench::with_scope(Scope::CloneSources);
    consent(&bench);
    bench.data_volume(&from_golden(), &json!({}));
    let mut spec = size();
    let source = json!({"apiGroup": "cdi.kubevirt.io", "kind": "VolumeCloneSource", "name": "golden"});
    merge(&mut spec, &json!({"dataSourceRef": source}));
    let object = json!({"metadata": {"uid": "c-1"}, "spec": spec, "status": {"phase": "Pending"}});
    bench.put(Kind::PersistentVolumeClaim, &copy(), object);
    let before = objects(&bench);
    bench.rounds(3);
    assert_eq!(objects(&bench), before);
}

/// CDI makes such a claim for a DataVolume with `spec.storage.dataSourceRef`.
#[test]
fn beside_cdi_the_claim_of_a_data_volume_that_names_a_clone_source_gets_a_prime() {
    let bench = Bench::with_scope(Scope::CloneSources);
    consent(&bench);
    for (kind, name, object) in [
        (Kind::StorageClass, "none", json!({"metadata": {"uid": "k-1"}, "provisioner": "csi.example"})),
        (Kind::CsiDriver, "csi.example", json!({"metadata": {"uid": "k-2"}})),
    ] {
        bench.put(kind, &Key::new("", name), object);
    }
    let source =
        json!({"metadata": {"uid": "s-2"}, "spec": {"source": {"namespace": "a", "name": "golden"}}});
    bench.put(Kind::CloneSource, &Key::new("b", "golden"), source);
    let storage =
        json!({"dataSourceRef": {"apiGroup": "decant.dev", "kind": "CloneSource", "name": "golden"}});
    bench.data_volume(&json!({"storage": storage}), &json!({}));
    let before = bench.cluster.get(Kind::DataVolume, &copy()).unwrap().value();
    let owner = json!({"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "name": "copy", "uid": "dv-1", "controller": true});
    let mut spec = size();
    merge(&mut spec, &storage);
    let object = json!({"metadata": {"uid": "c-1", "ownerReferences": [owner]}, "spec": spec, "status": {"phase": "Pending"}});
    bench.put(Kind::PersistentVolumeClaim, &copy(), object);
    bench.rounds(4);
    let claims = bench.cluster.names_of(Kind::PersistentVolumeClaim);
    assert_eq!(claims, ["a/decant-prime-c-1", "a/golden", "b/copy"], "{:?}", bench.events());
    let claim = bench.cluster.get(Kind::PersistentVolumeClaim, &copy()).unwrap().value();
    let finalizers = claim.pointer("/metadata/finalizers").unwrap();
    assert_eq!(finalizers, &json!(["decant.dev/populator"]));
    assert_eq!(bench.annotation(Kind::PersistentVolumeClaim, CLONE_OF), None);
    assert_eq!(bench.cluster.get(Kind::DataVolume, &copy()).unwrap().value(), before);
}

#[test]
fn a_controller_for_all_requests_does_not_start_while_that_of_cdi_runs() {
    let cluster = Kept::default();
    let now = OffsetDateTime::now_utc();
    assert_eq!(beside_cdi::check(&cluster, now), Ok(()));
    let renewed = now.format(&time::format_description::well_known::Rfc3339).unwrap();
    let lease = json!({"metadata": {"namespace": "cdi", "name": "cdi-controller-leader-election-helper"},
                       "spec": {"holderIdentity": "cdi-deployment-1", "renewTime": renewed}});
    cluster.create(Kind::Lease, &lease).unwrap();
    assert!(beside_cdi::check(&cluster, now).unwrap_err().contains("--beside-cdi"));
    assert_eq!(beside_cdi::check(&cluster, now + Duration::from_secs(120)), Ok(()));
    let refusal = Refusal {
        verb: "get",
        kind: Kind::Lease,
        part: Part::Whole,
        namespace: "cdi",
        error: failure(403, "Forbidden"),
    };
    cluster.refuses.lock().unwrap().push(refusal);
    assert_eq!(beside_cdi::check(&cluster, now), Ok(()));
}
