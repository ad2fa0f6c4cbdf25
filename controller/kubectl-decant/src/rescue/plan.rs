//! The objects that a rescue creates, and what it does, in words.

use serde_json::{Map, Value, json};

use decant_shared::protocol::units::parse_quantity;

use crate::ending::{Ending, Failure};
use crate::rescue::diagnosis;
use crate::rescue::files::Files;
use crate::rescue::found::{StuckDataVolume, meta};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::api::listing;
use decant_controller::objects;
use decant_controller::objects::annotations::{
    ALLOW_CLONE_TO, CLONE_TYPE, EXTENDED_TOKEN, PRE_POPULATED, TOKEN, USE_POPULATOR,
};
use decant_controller::objects::reference_grant::ReferenceGrant;
use decant_controller::objects::{Claim, CloneSource, ClonedKind, Key, Kind, Meta, Object, Uid};

/// Annotations of a DataVolume that CDI or the webhook wrote for the clone that is stuck.
const STATE: [&str; 5] = [TOKEN, EXTENDED_TOKEN, CLONE_TYPE, USE_POPULATOR, PRE_POPULATED];

/// The controller that serves DataVolumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// CDI; Decant fills PVCs whose data source is a CloneSource.
    Cdi,
    /// Decant.
    Decant,
}

/// What a rescue does.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The DataVolume and its PVC as they were, as a list.
    pub(super) original: Value,
    /// UID of the stuck DataVolume.
    pub(super) data_volume_uid: Uid,
    /// UID of its PVC; empty if there is none.
    pub(super) claim_uid: Uid,
    /// The CloneSource to create.
    pub(super) clone_source: Option<Value>,
    /// The DataVolume to create.
    pub(super) data_volume: Value,
    /// The VirtualMachine that creates the DataVolume from its template. Changed before the deletion, and not part of the
    /// files.
    pub(super) machine: Option<Machine>,
    /// Temporary objects of CDI that are removed, if CDI is gone.
    pub(super) temporary: Vec<(Kind, Key)>,
    /// What is copied, for people.
    source: Key,
}

/// A VirtualMachine with changed templates.
#[derive(Debug, PartialEq)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) resource_version: String,
    /// All its templates; the patch replaces the list as a whole.
    pub(super) templates: Value,
}

impl Plan {
    pub(super) fn new(
        cluster: &dyn Cluster,
        found: &StuckDataVolume,
        server: Server,
    ) -> Result<Self, Failure> {
        let (clone_source, spec) = match server {
            Server::Decant => (None, found.object["spec"].clone()),
            Server::Cdi => {
                check_consent(cluster, found)?;
                let name = name_of_clone_source(cluster, found)?;
                (Some(clone_source(found, &name)), spec_with_data_source(found, &name)?)
            }
        };
        let machine = match server {
            Server::Cdi => machine(cluster, found, &spec)?,
            // The template stays as it is.
            Server::Decant => None,
        };
        let temporary = match server {
            Server::Cdi => Vec::new(),
            Server::Decant => [
                diagnosis::temporary_claim(found).map(|key| (Kind::PersistentVolumeClaim, key)),
                diagnosis::temporary_snapshot(found).map(|key| (Kind::VolumeSnapshot, key)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let target = found.target_object.as_ref();
        Ok(Self {
            original: list(
                &[Some(&found.object), target].into_iter().flatten().cloned().map(bare).collect::<Vec<_>>(),
            ),
            data_volume_uid: found.data_volume.metadata.uid.clone(),
            claim_uid: found.target.as_ref().map(|claim| claim.metadata.uid.clone()).unwrap_or_default(),
            clone_source,
            data_volume: data_volume(&found.data_volume.metadata, &spec),
            machine,
            temporary,
            source: found.source.clone(),
        })
    }

    /// Whether it is the plan for the DataVolume with this metadata.
    pub(super) fn is_for(&self, data_volume: &Meta) -> bool {
        self.data_volume_uid == data_volume.uid
    }

    /// Whether a DataVolume that another controller created has the source of this plan.
    pub(super) fn is_satisfied_by(&self, object: &Value) -> bool {
        let source = |object: &Value| {
            ["pvc", "storage"]
                .iter()
                .find_map(|field| object.pointer(&format!("/spec/{field}/dataSourceRef/name")).cloned())
        };
        self.clone_source.is_none() || source(object) == source(&self.data_volume)
    }

    /// The objects to create, as a list.
    pub(super) fn to_value(&self) -> Value {
        list(&self.clone_source.iter().chain([&self.data_volume]).cloned().collect::<Vec<_>>())
    }

    /// The plan in both files.
    pub(super) fn from_values(original: Value, plan: &Value) -> Option<Self> {
        let item = |list: &Value, kind: Kind| {
            list["items"].as_array()?.iter().find(|item| item["kind"] == kind.name()).cloned()
        };
        let uid = |kind: Kind| {
            item(&original, kind).map(|object| meta(&Object::from(object)).uid).unwrap_or_default()
        };
        let data_volume = item(plan, Kind::DataVolume)?;
        let data_volume_uid = uid(Kind::DataVolume);
        if data_volume_uid == Uid::default() {
            return None;
        }
        Some(Self {
            data_volume_uid,
            claim_uid: uid(Kind::PersistentVolumeClaim),
            clone_source: item(plan, Kind::CloneSource),
            data_volume,
            machine: None,
            temporary: Vec::new(),
            source: Key::new("", ""),
            original,
        })
    }

    /// What the rescue will do, in lines.
    pub(super) fn describe(&self, files: &Files) -> Vec<String> {
        let key = meta(&Object::from(self.data_volume.clone())).key();
        let mut steps = vec![format!(
            "write the DataVolume and its PVC as they are to {}, and what is created instead to {}",
            files.original.display(),
            files.plan.display()
        )];
        if let Some(source) = &self.clone_source {
            let name = source["metadata"]["name"].as_str().unwrap_or_default();
            steps.push(format!(
                "create CloneSource {}/{name}, which names PVC {}",
                key.namespace, self.source
            ));
        }
        if let Some(machine) = &self.machine {
            steps.push(format!(
                "change the entry of {} in spec.dataVolumeTemplates of VirtualMachine {}/{}, which creates the DataVolume from it",
                key.name, key.namespace, machine.name
            ));
        }
        steps.extend(
            self.temporary.iter().map(|(kind, key)| {
                format!("delete the temporary {} {key} of CDI, if it exists", kind.name())
            }),
        );
        steps.push(format!("delete DataVolume {key} and its PVC, which has no volume and holds no data"));
        steps.push(format!(
            "create DataVolume {key} again, with the same labels, annotations and owners, so that Decant copies PVC {} into it",
            self.source
        ));
        let count = steps.len();
        let lines = steps.into_iter().enumerate().map(|(index, step)| {
            let end = if index + 1 == count { '.' } else { ',' };
            format!("  {}. {step}{end}", index + 1)
        });
        std::iter::once("The rescue will:".to_owned()).chain(lines).collect()
    }
}

fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// The object without what only the API server needs.
fn bare(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// The DataVolume to create: with labels, annotations and owners of the earlier one.
fn data_volume(earlier: &Meta, spec: &Value) -> Value {
    let annotations: Map<String, Value> = earlier
        .annotations
        .iter()
        .filter(|(name, _)| !STATE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let mut metadata = Map::new();
    metadata.insert("namespace".to_owned(), earlier.namespace.clone().into());
    metadata.insert("name".to_owned(), earlier.name.clone().into());
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), annotations.into());
    }
    if !earlier.labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(earlier.labels));
    }
    if !earlier.owner_references.is_empty() {
        metadata.insert("ownerReferences".to_owned(), json!(earlier.owner_references));
    }
    json!({
        "apiVersion": Kind::DataVolume.api_version(), "kind": Kind::DataVolume.name(), "metadata": metadata, "spec": spec,
    })
}

fn clone_source(found: &StuckDataVolume, name: &str) -> Value {
    let Key { namespace, name: claim } = &found.source;
    json!({
        "apiVersion": Kind::CloneSource.api_version(), "kind": Kind::CloneSource.name(),
        "metadata": { "namespace": found.key().namespace, "name": name },
        "spec": { "source": { "namespace": namespace, "name": claim } },
    })
}

/// The name of the CloneSource: that of the DataVolume, unless a CloneSource with another source has it.
fn name_of_clone_source(cluster: &dyn Cluster, found: &StuckDataVolume) -> Result<String, Failure> {
    let Key { namespace, name } = found.key();
    let names = [name.clone(), format!("{name}-rescue")];
    for name in &names {
        let existing = match cluster.get(Kind::CloneSource, &Key::new(&namespace, name)) {
            Ok(object) => objects::decode::<CloneSource>(object).unwrap_or_default(),
            Err(e) if e.is_not_found() => return Ok(name.clone()),
            Err(e) => return Err(e.into()),
        };
        let wanted = existing.request().map(|request| request.wanted);
        if wanted == Ok(decant_controller::objects::clone_request::Wanted::Claim(found.source.clone())) {
            return Ok(name.clone());
        }
    }
    let text =
        format!("CloneSources {} exist and have another source; delete one of them", names.join(" and "));
    Err(Failure::new(Ending::Failed, text))
}

/// The spec of the DataVolume with a CloneSource as its data source. CDI derives nothing from that, so what was derived
/// from the source is written into it.
fn spec_with_data_source(found: &StuckDataVolume, clone_source: &str) -> Result<Value, Failure> {
    let mut spec = found.object["spec"].as_object().cloned().unwrap_or_default();
    spec.remove("source");
    spec.remove("sourceRef");
    let field = if spec.contains_key("pvc") { "pvc" } else { "storage" };
    let mut part = spec.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    part.remove("dataSource");
    part.insert(
        "dataSourceRef".to_owned(),
        json!({ "apiGroup": Kind::CloneSource.group(), "kind": Kind::CloneSource.name(), "name": clone_source }),
    );
    let like = found.target.as_ref().unwrap_or(&found.source_claim);
    if field == "storage" {
        complete(&mut part, like, found)?;
    }
    spec.insert(field.to_owned(), part.into());
    Ok(spec.into())
}

fn complete(storage: &mut Map<String, Value>, like: &Claim, found: &StuckDataVolume) -> Result<(), Failure> {
    let is_missing = |value: Option<&Value>| {
        value
            .is_none_or(|value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty))
    };
    if is_missing(storage.get("storageClassName"))
        && let Some(class) = found.target.as_ref().and_then(|claim| claim.spec.storage_class_name.clone())
    {
        storage.insert("storageClassName".to_owned(), class.into());
    }
    if is_missing(storage.get("accessModes")) {
        storage.insert("accessModes".to_owned(), json!(like.spec.access_modes));
    }
    if is_missing(storage.get("volumeMode")) {
        storage.insert("volumeMode".to_owned(), json!(like.spec.volume_mode));
    }
    let size = storage.get("resources").and_then(|resources| resources.pointer("/requests/storage"));
    if is_missing(size) {
        let source = &found.source_claim;
        let sizes = [source.requested(), source.status.capacity.storage.clone()].into_iter().flatten();
        let size = sizes.max_by_key(|size| parse_quantity(size).unwrap_or_default()).ok_or_else(|| {
            Failure::new(Ending::Failed, format!("the size of the source, PVC {}, is unknown", found.source))
        })?;
        storage.insert("resources".to_owned(), json!({ "requests": { "storage": size } }));
    }
    Ok(())
}

/// A CloneSource that names another namespace needs the consent of that namespace. Nothing is deleted before it is there.
fn check_consent(cluster: &dyn Cluster, found: &StuckDataVolume) -> Result<(), Failure> {
    let namespace = found.key().namespace;
    if found.source.namespace == namespace {
        return Ok(());
    }
    let consent = found.source_claim.metadata.annotation(ALLOW_CLONE_TO).unwrap_or_default();
    if consent.split(',').map(str::trim).any(|allowed| allowed == "*" || allowed == namespace) {
        return Ok(());
    }
    if grants(cluster, &found.source.namespace)?
        .iter()
        .any(|grant| grant.allows_clone(&found.source, ClonedKind::Claim, &namespace))
    {
        return Ok(());
    }
    Err(Failure::new(
        Ending::Clone,
        format!(
            "the source, PVC {}, is in another namespace, and nothing allows to clone it to {namespace}: annotate it with \
             {ALLOW_CLONE_TO}={namespace}, or create a ReferenceGrant there",
            found.source
        ),
    ))
}

/// The ReferenceGrants of a namespace; none without their definition, or without the right to list them.
fn grants(cluster: &dyn Cluster, namespace: &str) -> Result<Vec<ReferenceGrant>, ApiError> {
    let params = ListParams { namespace: Some(namespace.to_owned()), ..ListParams::default() };
    for kind in [Kind::ReferenceGrant, Kind::ReferenceGrantV1] {
        let mut grants = Vec::new();
        match listing::list(cluster, kind, &params, |object| grants.extend(objects::decode(object).ok())) {
            Ok(_) => return Ok(grants),
            Err(e) if e.is_not_found() || e.is_forbidden() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Vec::new())
}

/// The VirtualMachine that controls the DataVolume, with the new spec in its template. It would otherwise create the
/// DataVolume again with the earlier spec as soon as it is deleted.
fn machine(cluster: &dyn Cluster, found: &StuckDataVolume, spec: &Value) -> Result<Option<Machine>, Failure> {
    let owner = found.data_volume.metadata.controller();
    let Some(owner) = owner.filter(|owner| owner.kind == Kind::VirtualMachine.name()) else {
        return Ok(None);
    };
    let Key { namespace, name } = found.key();
    let object = match cluster.get(Kind::VirtualMachine, &Key::new(&namespace, &owner.name)) {
        Ok(object) => object,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let machine = object.value();
    let Some(mut templates) = machine.pointer("/spec/dataVolumeTemplates").and_then(Value::as_array).cloned()
    else {
        return Ok(None);
    };
    let template = templates.iter_mut().find(|template| template["metadata"]["name"] == name.as_str());
    let Some(template) = template.and_then(Value::as_object_mut) else { return Ok(None) };
    template.insert("spec".to_owned(), spec.clone());
    Ok(Some(Machine {
        name: owner.name.clone(),
        resource_version: meta(&object).resource_version,
        templates: templates.into(),
    }))
}
