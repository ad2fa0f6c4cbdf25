//! Runs the whole controller on a clone in an arbitrary state, with arbitrary content in its objects: decoding, stores, observation,
//! decision, construction of objects, status, events, Secrets, the Lease.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::certificates::pki::Pki;
use decant_controller::certificates::signer::Signer;
use decant_controller::leader::lease;
use decant_controller::leader::lease::Seen;
use decant_controller::leader::record::Lease;
use decant_controller::objects::{
    Claim, DECODE_LIMIT_BYTES, DataSource, DataVolume, Key, Kind, Object, Pod, Uid, Volume, decode_within,
};
use decant_controller::pods::identity::PodIdentity;
use decant_controller::pods::made;
use decant_controller::pods::role::Role;
use decant_controller::policy::{Policy, Transfer};
use decant_controller::reconcile::reserved_volumes;
use decant_controller::summary::clone_summary::CloneSummary;
use decant_controller::token::key::TokenKey;
use decant_controller::watch::store::{Store, StoreObject, Stores};
use decant_controller::watch::unreadable::Unreadables;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::bytes::Bytes;
use crate::running_cluster::reconciler;

static PKI: LazyLock<Arc<Pki>> =
    LazyLock::new(|| Arc::new(Pki::open(&World::default(), "decant", OffsetDateTime::now_utc()).unwrap()));
static KEYS: LazyLock<Arc<TokenKey>> =
    LazyLock::new(|| Arc::new(TokenKey::load(&World::default(), "decant").unwrap()));
static SIGNER: LazyLock<Value> =
    LazyLock::new(|| Signer::new("n", OffsetDateTime::now_utc()).unwrap().data());

/// A cluster with these objects, which records what is created.
#[derive(Default)]
struct World {
    objects: BTreeMap<(Kind, Key), Value>,
    /// Whether every `create` fails because the object exists already.
    creates_conflict: bool,
    created: Mutex<Vec<Value>>,
}

impl World {
    fn read(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        let missing = || ApiError { code: 404, reason: "NotFound".to_owned(), message: format!("no {key}") };
        self.objects.get(&(kind, key.clone())).cloned().map(Object::from).ok_or_else(missing)
    }
}

impl Cluster for World {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.read(kind, key)
    }

    fn list(&self, kind: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        let all = self.objects.iter().filter(|((of, _), _)| *of == kind);
        Ok(ListPage { items: all.map(|(_, object)| object.clone().into()).collect(), ..ListPage::default() })
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(ApiError { code: 410, reason: "Expired".to_owned(), message: String::new() })
    }

    fn create(&self, _: Kind, object: &Value) -> Result<Object, ApiError> {
        self.created.lock().unwrap().push(object.clone());
        if self.creates_conflict {
            let message = "the object exists already".to_owned();
            return Err(ApiError { code: 409, reason: "AlreadyExists".to_owned(), message });
        }
        Ok(object.clone().into())
    }

    fn patch(&self, kind: Kind, key: &Key, _: Part, _: &Value) -> Result<Object, ApiError> {
        self.read(kind, key)
    }

    fn replace(&self, _: Kind, _: &Key, object: &Value) -> Result<Object, ApiError> {
        Ok(object.clone().into())
    }

    fn delete(&self, _: Kind, _: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        Ok(())
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(ApiError { code: 503, reason: String::new(), message: String::new() })
    }
}

/// Owner references with one owner.
fn owned(kind: &str, name: &str, uid: &str) -> Value {
    json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true }])
}

/// The annotations by which the controller recognizes a pod of the clone as its own.
fn identity(role: Role, pod: &str) -> Map<String, Value> {
    let identity = PodIdentity {
        role,
        pod: Key::new("n", pod),
        clone: Key::new("n", "copy"),
        target_claim: Uid::from("copy-uid"),
        source_claim: Uid::from("golden-uid"),
        target_pod: (role == Role::Source).then(|| Uid::from("target-uid")),
        authority: PKI.authority(),
        keys: format!("{pod}-keys"),
    };
    identity.annotations(&KEYS)
}

/// The objects of a running clone, in the order in which they are created.
fn objects() -> [(Kind, Value); 8] {
    let spec = json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
                       "resources": { "requests": { "storage": "1Gi" } } });
    let labels =
        |component: &str| json!({ "app": "containerized-data-importer", "cdi.kubevirt.io": component });
    let running = |name: &str| {
        json!({ "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
            { "name": name, "ready": true, "restartCount": 1, "state": { "running": { "startedAt": "2026-01-01T12:00:00Z" } } }] })
    };
    [
        (
            Kind::DataVolume,
            json!({
                "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid", "labels": {}, "annotations": {},
                              "creationTimestamp": "2026-01-01T12:00:00Z" },
                "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": spec },
                "status": { "phase": "Pending", "conditions": [{ "type": "Bound", "status": "False" }] },
            }),
        ),
        (
            Kind::PersistentVolumeClaim,
            json!({
                "metadata": { "namespace": "n", "name": "golden", "uid": "golden-uid", "labels": {}, "annotations": {} },
                "spec": spec, "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
            }),
        ),
        (
            Kind::StorageClass,
            json!({
                "metadata": { "name": "c" }, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer",
            }),
        ),
        (
            Kind::PersistentVolumeClaim,
            json!({
                "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "finalizers": ["cdi.kubevirt.io/cloneSource"],
                    "ownerReferences": owned("DataVolume", "copy", "dv-uid"),
                    "annotations": {
                        "k8s.io/CloneRequest": "n/golden",
                        "cdi.kubevirt.io/storage.uploadPodName": "cdi-upload-copy",
                        "cdi.kubevirt.io/uploadClientName": "decant:golden-uid:copy-uid",
                        "cdi.kubevirt.io/storage.sourceClonePodName": "copy-uid-source-pod",
                        "cdi.kubevirt.io/storage.pod.restarts": "1",
                        "decant.dev/replaced-pods": "1",
                        "decant.dev/target-pod": made::record(Role::Target, &Uid::from("target-uid"), &Uid::from("copy-uid"), &KEYS),
                        "decant.dev/source-pod": made::record(Role::Source, &Uid::from("source-uid"), &Uid::from("copy-uid"), &KEYS),
                    } },
                "spec": spec, "status": { "phase": "Bound" },
            }),
        ),
        (
            Kind::Pod,
            json!({
                "metadata": { "namespace": "n", "name": "cdi-upload-copy", "uid": "target-uid",
                    "labels": labels("cdi-upload-server"),
                    "annotations": identity(Role::Target, "cdi-upload-copy"),
                    "ownerReferences": owned("PersistentVolumeClaim", "copy", "copy-uid") },
                "spec": { "containers": [{ "name": "cdi-upload-server", "volumeDevices": [{ "name": "v" }] }],
                          "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "copy" } }] },
                "status": running("cdi-upload-server"),
            }),
        ),
        (
            Kind::Pod,
            json!({
                "metadata": { "namespace": "n", "name": "copy-uid-source-pod", "uid": "source-uid",
                    "labels": labels("cdi-clone-source"),
                    "annotations": identity(Role::Source, "copy-uid-source-pod") },
                "spec": { "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "golden", "readOnly": true } }] },
                "status": running("cdi-clone-source"),
            }),
        ),
        (
            Kind::DataSource,
            json!({
                "metadata": { "namespace": "n", "name": "golden" },
                "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } } },
            }),
        ),
        (
            Kind::Secret,
            json!({
                "metadata": { "namespace": "decant", "name": "cdi-uploadserver-signer" }, "data": *SIGNER,
            }),
        ),
    ]
}

/// Runs one case. `input` selects which objects exist and what is changed in them. Returns the kinds of the objects that the
/// controller created.
pub fn case(input: &[u8]) -> Vec<String> {
    let mut bytes = Bytes::new(input);
    // Usually the first `count` objects exist, as in a clone that has come this far. `extra` may add one more.
    let count = bytes.take() % 9;
    let extra = bytes.take() % 16;
    let by_name = bytes.take().is_multiple_of(4);
    let mut world = World { creates_conflict: bytes.take().is_multiple_of(4), ..World::default() };
    let mut changed = Vec::new();
    for (at, (kind, mut object)) in (0_u8..).zip(objects()) {
        if at == 0 && by_name {
            object["spec"]["source"] = Value::Null;
            object["spec"]["sourceRef"] = json!({ "kind": "DataSource", "name": "golden" });
        }
        if at < count || at == extra || at >= 6 {
            bytes.change(&mut object);
            changed.push((kind, object));
        }
    }
    for (kind, object) in &changed {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let key = Key::new(text("/metadata/namespace"), text("/metadata/name"));
        world.objects.insert((*kind, key), object.clone());
    }
    let lease = bytes.json(4);
    let class = bytes.json(4);
    read_own_objects(&lease, &changed);
    if bytes.take().is_multiple_of(8) {
        world.objects.insert((Kind::StorageClass, Key::new("", "c")), class);
    }
    reconcile(world, &changed)
}

/// Reads the controller's own objects: the Lease, authorities and the key of tokens.
fn read_own_objects(lease: &Value, changed: &[(Kind, Value)]) {
    let now = OffsetDateTime::now_utc();
    for object in [
        lease,
        &json!({ "spec": lease }),
        &json!({ "metadata": {}, "spec": { "leaseDurationSeconds": lease } }),
    ] {
        if let Ok(read) = Lease::from_object(object) {
            let seen = Seen { version: String::new(), at: Instant::now() };
            lease::decide_lease(Some(&read), &seen, "me", Instant::now());
            let _ = read.to_object(&Key::new("n", "l"), now);
        }
    }
    for (_, object) in changed.iter().filter(|(kind, _)| *kind == Kind::Secret) {
        if let Ok(signer) = Signer::of(&Object::from(object.clone())) {
            let _ = signer.is_due(now);
            let _ = signer.successor("n", now);
        }
        let key = Key::new("decant", decant_controller::token::key::KEY_SECRET);
        let world =
            World { objects: BTreeMap::from([((Kind::Secret, key), object.clone())]), ..World::default() };
        let _ = TokenKey::load(&world, "decant");
    }
}

/// Decodes `object` and puts it into its store, or records that it cannot be read.
fn put<T: StoreObject>(kind: Kind, object: &Object, store: &Store<T>, unreadable: &Unreadables) {
    match decode_within(object, DECODE_LIMIT_BYTES) {
        Ok(decoded) if !store.admits(&decoded) => {}
        Ok(decoded) => drop(store.put(decoded)),
        Err(why) => drop(unreadable.put(kind, object, why)),
    }
}

/// Puts `objects` into the stores, as the watches do.
fn fill_stores(objects: &[(Kind, Value)], stores: &Stores, unreadable: &Unreadables) {
    for (kind, object) in objects {
        let object = Object::from(object.clone());
        match kind {
            Kind::DataVolume => put::<DataVolume>(*kind, &object, &stores.data_volumes, unreadable),
            Kind::PersistentVolumeClaim => put::<Claim>(*kind, &object, &stores.claims, unreadable),
            Kind::Pod => put::<Pod>(*kind, &object, &stores.pods, unreadable),
            Kind::DataSource => put::<DataSource>(*kind, &object, &stores.data_sources, unreadable),
            _ => {}
        }
    }
}

/// Runs two rounds of the reconciler; the second one sees what the first one created.
fn reconcile(world: World, changed: &[(Kind, Value)]) -> Vec<String> {
    let cluster = Arc::new(world);
    // Over the network: two pods and their Secrets are made of the objects.
    let flags = Policy { transfer: Transfer::Network, ..Policy::default() };
    let reconciler = reconciler(cluster.clone(), flags, Arc::clone(&KEYS), Arc::clone(&PKI));
    let stores = &reconciler.observer.stores;
    fill_stores(changed, stores, &reconciler.unreadable);
    for dv in stores.data_volumes.all() {
        let _ = CloneSummary::of(&dv);
    }
    for claim in stores.claims.all() {
        let _ = CloneSummary::of_claim(&claim);
    }
    let mut kinds = Vec::new();
    for _ in 0..2 {
        reconciler.work(&Key::new("n", "copy"));
        // Created objects come back through the watch.
        let created = std::mem::take(&mut *cluster.created.lock().unwrap());
        let kind = |object: &Value| match object.get("kind").and_then(Value::as_str) {
            Some("PersistentVolumeClaim") => Some(Kind::PersistentVolumeClaim),
            Some("Pod") => Some(Kind::Pod),
            _ => None,
        };
        kinds.extend(created.iter().filter_map(|object| object.get("kind")?.as_str().map(str::to_owned)));
        let created: Vec<(Kind, Value)> =
            created.into_iter().filter_map(|object| Some((kind(&object)?, object))).collect();
        fill_stores(&created, &reconciler.observer.stores, &reconciler.unreadable);
    }
    assert_eq!(reconciler.rounds.panics(), 0, "a round panicked");
    kinds
}

/// Runs everything that reads an object on arbitrary bytes.
pub fn raw(bytes: &[u8]) {
    let Ok(object) = Object::try_from(bytes.to_vec()) else { return };
    let _ = object.value();
    let stores = Stores::new(Arc::clone(&KEYS));
    let unreadable = Unreadables::default();
    put::<DataVolume>(Kind::DataVolume, &object, &stores.data_volumes, &unreadable);
    put::<Claim>(Kind::PersistentVolumeClaim, &object, &stores.claims, &unreadable);
    put::<Pod>(Kind::Pod, &object, &stores.pods, &unreadable);
    put::<DataSource>(Kind::DataSource, &object, &stores.data_sources, &unreadable);
    for dv in stores.data_volumes.all() {
        let _ = decant_controller::objects::clone_request::validate(&dv);
        let _ = unreadable.in_the_way(&dv.metadata.key(), &stores);
    }
    for source in stores.data_sources.all() {
        let _ = decant_controller::objects::clone_request::resolve(&source);
    }
    if let (Ok(volume), Ok(claim)) = (
        decode_within::<Volume>(&object, DECODE_LIMIT_BYTES),
        decode_within::<Claim>(&object, DECODE_LIMIT_BYTES),
    ) {
        let _ = reserved_volumes::binding(&volume, &claim);
        for dv in stores.data_volumes.all() {
            let _ = reserved_volumes::claim_spec(&dv, &[Arc::new(volume.clone())], &Policy::default());
        }
    }
    let _ = Signer::of(&object);
    let _ = Lease::from_object(&object);
}
