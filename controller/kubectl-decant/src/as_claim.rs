//! `kubectl decant clone --as-claim`: creates a CloneSource, and a PVC that it fills before the PVC is bound.

use std::collections::BTreeMap;

use decant_shared::protocol::units::parse_quantity;
use serde_json::{Map, Value, json};

use crate::args::CloneArgs;
use crate::ending::{Ending, Failure};
use crate::output::{print, print_error, print_line};
use crate::session::Session;
use decant_controller::api::cluster::{ApiError, Cluster, Part};
use decant_controller::objects;
use decant_controller::objects::annotations::{BIND_IMMEDIATE, CONTENT_TYPE};
use decant_controller::objects::claim::VolumeMode;
use decant_controller::objects::{Claim, Key, Kind, Object, StorageClass};

/// The size of the source cannot be determined.
const NO_SIZE: &str = "its size cannot be read; give one with --size";
/// The API server dropped the data source of the PVC.
const DROPPED: &str = "this cluster ignores the data source of PVCs, so the PVC would be bound to an empty volume: Kubernetes before 1.24 \
    needs the feature gate AnyVolumeDataSource. Clone without --as-claim, or enable the gate";

/// Creates both objects. `source_claim` is the source, if the user may read it.
pub(super) fn create(
    session: &Session,
    source: &Key,
    source_claim: Option<&Claim>,
    target: &Key,
    args: &CloneArgs,
) -> Result<(), Failure> {
    let size = args.size.clone().or_else(|| source_claim.and_then(size_of));
    let size = size.ok_or_else(|| Failure::usage(format!("PVC {source}: {NO_SIZE}")))?;
    let claim = claim(target, source_claim, &size, args);
    // Nothing has been created yet.
    match session.cluster.dry_run(Kind::PersistentVolumeClaim, &claim) {
        Ok(object) => check_kept(&object)?,
        // A webhook does not support dry runs.
        Err(e) if e.code == 400 => {}
        Err(e) => return Err(e.into()),
    }
    let clone_source = session.cluster.create(Kind::CloneSource, &clone_source(source, target, args))?;
    let created = created_claim(session, &claim).inspect_err(|_| {
        // The failure to create the PVC is reported.
        let _ = delete(session, Kind::CloneSource, &clone_source);
    })?;
    if let Err(e) = make_owner(session, target, &created) {
        print_error(&format!("Note: CloneSource {target} stays when the PVC is deleted: {e}"));
    }
    match args.output {
        Some(output) => print(output, &created.value())?,
        None => {
            print_line(&format!("clonesource.decant.dev/{} created", target.name));
            print_line(&format!("persistentvolumeclaim/{} created", target.name));
        }
    }
    if let Ok(claim) = objects::decode::<Claim>(&created) {
        explain_class(session, &claim, args.immediate);
    }
    Ok(())
}

fn created_claim(session: &Session, claim: &Value) -> Result<Object, Failure> {
    let created = session.cluster.create(Kind::PersistentVolumeClaim, claim)?;
    check_kept(&created).inspect_err(|_| {
        // An empty volume would be bound to it.
        let _ = delete(session, Kind::PersistentVolumeClaim, &created);
    })?;
    Ok(created)
}

fn check_kept(object: &Object) -> Result<(), Failure> {
    let is_kept = objects::decode::<Claim>(object).is_ok_and(|claim| claim.populator().is_some());
    if is_kept { Ok(()) } else { Err(Failure::new(Ending::Failed, DROPPED)) }
}

fn delete(session: &Session, kind: Kind, object: &Object) -> Result<(), ApiError> {
    let Ok(meta) = objects::decode::<Claim>(object).map(|read| read.metadata) else { return Ok(()) };
    session.cluster.delete(kind, &meta.key(), &meta.uid, None)
}

/// Makes the PVC the owner of its CloneSource, so that both are deleted together.
fn make_owner(session: &Session, target: &Key, claim: &Object) -> Result<(), ApiError> {
    let Ok(meta) = objects::decode::<Claim>(claim).map(|claim| claim.metadata) else { return Ok(()) };
    let owner = json!({
        "apiVersion": Kind::PersistentVolumeClaim.api_version(), "kind": Kind::PersistentVolumeClaim.name(),
        "name": meta.name, "uid": meta.uid,
    });
    let patch = json!({ "metadata": { "ownerReferences": [owner] } });
    session.cluster.patch(Kind::CloneSource, target, Part::Whole, &patch).map(drop)
}

/// Tells what the class of the PVC means for the clone, as far as the user may read it.
fn explain_class(session: &Session, claim: &Claim, is_immediate: bool) {
    let Some(name) = claim.spec.storage_class_name.as_ref().filter(|name| !name.is_empty()) else { return };
    let class = session.cluster.get(Kind::StorageClass, &Key::new("", name));
    let Some(class) = class.ok().and_then(|object| objects::decode::<StorageClass>(object).ok()) else {
        return;
    };
    let driver = session.cluster.get(Kind::CsiDriver, &Key::new("", &class.provisioner));
    if driver.is_err_and(|e| e.is_not_found()) {
        print_error(&format!(
            "Warning: the provisioner {:?} of StorageClass {name:?} is not a CSI driver of this cluster, so the PVC is not filled. Use \
             another class, or clone without --as-claim",
            class.provisioner
        ));
    } else if class.waits_for_consumer() && !is_immediate {
        print_error(&format!(
            "Note: StorageClass {name:?} waits for the first pod that uses the PVC. The clone starts then, and the pod starts when the \
             clone is complete."
        ));
    }
}

/// The larger one of what the source requested and what it got.
fn size_of(source: &Claim) -> Option<String> {
    let sizes = [source.requested(), source.status.capacity.storage.clone()].into_iter().flatten();
    sizes.max_by_key(|size| parse_quantity(size).unwrap_or_default())
}

fn clone_source(source: &Key, target: &Key, args: &CloneArgs) -> Value {
    let mut spec = Map::new();
    spec.insert("source".to_owned(), json!({ "name": source.name, "namespace": source.namespace }));
    let options = [
        ("bandwidthLimit", args.limit.clone().map(Value::from)),
        ("streams", args.streams.map(Value::from)),
        ("verify", args.verify.clone().map(Value::from)),
    ];
    spec.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    json!({
        "apiVersion": Kind::CloneSource.api_version(),
        "kind": Kind::CloneSource.name(),
        "metadata": { "namespace": target.namespace, "name": target.name },
        "spec": spec,
    })
}

/// The PVC: with the modes of the source, as far as they are known.
fn claim(target: &Key, source: Option<&Claim>, size: &str, args: &CloneArgs) -> Value {
    let mut annotations: BTreeMap<&str, String> = BTreeMap::new();
    if args.immediate {
        annotations.insert(BIND_IMMEDIATE, String::new());
    }
    let content_type = source.and_then(|claim| claim.metadata.annotation(CONTENT_TYPE));
    annotations.extend(content_type.map(|content| (CONTENT_TYPE, content.to_owned())));
    let modes = source.map(|claim| claim.spec.access_modes.clone()).filter(|modes| !modes.is_empty());
    let modes = modes.unwrap_or_else(|| vec!["ReadWriteOnce".to_owned()]);
    let is_block = source.is_some_and(|claim| claim.spec.volume_mode == VolumeMode::Block);
    // Kubernetes before 1.24 knows only `dataSource`.
    let data_source = json!({
        "apiGroup": Kind::CloneSource.group(), "kind": Kind::CloneSource.name(), "name": target.name,
    });
    let mut object = json!({
        "apiVersion": Kind::PersistentVolumeClaim.api_version(),
        "kind": Kind::PersistentVolumeClaim.name(),
        "metadata": { "namespace": target.namespace, "name": target.name, "annotations": annotations },
        "spec": {
            "accessModes": modes,
            "volumeMode": if is_block { "Block" } else { "Filesystem" },
            "resources": { "requests": { "storage": size } },
            "dataSource": data_source,
            "dataSourceRef": data_source,
        },
    });
    if let Some(class) = &args.storage_class {
        object["spec"]["storageClassName"] = class.as_str().into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use decant_controller::objects::clone_request::Wanted;
    use decant_controller::objects::{CloneSource, PopulatorKind};

    fn args(flags: &[&str]) -> CloneArgs {
        let line = [&["kubectl-decant", "clone", "golden", "--as-claim"], flags].concat();
        let Command::Clone(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        args
    }

    fn golden() -> Claim {
        serde_json::from_value(json!({
            "metadata": { "annotations": { CONTENT_TYPE: "archive" } },
            "spec": { "accessModes": ["ReadOnlyMany"], "volumeMode": "Block",
                      "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "capacity": { "storage": "2Gi" } },
        }))
        .unwrap()
    }

    fn keys() -> [Key; 2] {
        [Key::new("n", "golden"), Key::new("m", "copy")]
    }

    #[test]
    fn the_controller_accepts_the_clone_source() {
        let [source, target] = keys();
        for flags in [&[][..], &["--limit", "50MiB/s", "--streams", "8", "--verify", "readback"]] {
            let object = clone_source(&source, &target, &args(flags));
            let read: CloneSource = objects::decode(object.clone()).unwrap();
            let request = read.request().unwrap();
            assert_eq!(request.wanted, Wanted::Claim(source.clone()), "{object}");
            assert_eq!(request.settings.is_empty(), flags.is_empty(), "{object}");
        }
    }

    #[test]
    fn the_claim_names_its_clone_source_in_both_fields_and_has_the_modes_of_the_source() {
        let [_, target] = keys();
        let flags = ["--storage-class", "fast", "--immediate"];
        let object = claim(&target, Some(&golden()), "2Gi", &args(&flags));
        let read: Claim = objects::decode(object.clone()).unwrap();
        let populator = read.populator().unwrap();
        assert_eq!((populator.kind, populator.key), (PopulatorKind::CloneSource, target.clone()));
        assert_eq!(object["spec"]["dataSource"], object["spec"]["dataSourceRef"]);
        assert_eq!(
            (&object["spec"]["accessModes"], &object["spec"]["volumeMode"]),
            (&json!(["ReadOnlyMany"]), &json!("Block"))
        );
        assert_eq!(object["spec"]["storageClassName"], "fast");
        assert_eq!(object["metadata"]["annotations"], json!({ BIND_IMMEDIATE: "", CONTENT_TYPE: "archive" }));
        let unknown = claim(&target, None, "2Gi", &args(&[]));
        assert_eq!(unknown["spec"]["accessModes"], json!(["ReadWriteOnce"]));
        assert!(unknown["spec"].get("storageClassName").is_none());
    }

    #[test]
    fn a_claim_without_its_data_source_is_noticed() {
        let [_, target] = keys();
        let mut object = claim(&target, None, "2Gi", &args(&[]));
        assert_eq!(check_kept(&object.clone().into()), Ok(()));
        let spec = object["spec"].as_object_mut().unwrap();
        // Kubernetes before 1.24 keeps only this field, and only with its feature gate.
        spec.remove("dataSourceRef");
        assert_eq!(check_kept(&object.clone().into()), Ok(()));
        object["spec"].as_object_mut().unwrap().remove("dataSource");
        assert!(check_kept(&object.into()).unwrap_err().to_string().contains("AnyVolumeDataSource"));
    }

    #[test]
    fn the_size_is_the_larger_one_of_the_sources_sizes() {
        assert_eq!(size_of(&golden()).as_deref(), Some("2Gi"));
        assert_eq!(size_of(&Claim::default()), None);
    }
}
