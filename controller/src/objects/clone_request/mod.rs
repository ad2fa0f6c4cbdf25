//! The request in a DataVolume (docs/protocol.md sections 4.2, 4.3).

use std::fmt;

use decant_shared::protocol::stream_id::STREAMS_LIMIT;
use decant_shared::protocol::units::{Rate, parse_quantity};

use crate::objects::annotations::{BANDWIDTH_LIMIT, READBACK, SOURCE_IN_USE, STREAMS, TRANSFER, VERIFY};
use crate::objects::data_source::DataSourceTarget;
use crate::objects::data_volume::{ClaimSource, Source, SourceRef};
use crate::objects::names::NAME_MAX_BYTES;
use crate::objects::pod_settings::PodSettings;
use crate::objects::{Checked, ClaimTemplate, ClonedObject, DataSource, DataVolume, Key};

const MIB_BYTES: u64 = 1 << 20;
/// The values of the annotation [`TRANSFER`].
const TRANSFERS: [&str; 3] = ["auto", "direct", "network"];

/// The source that is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This claim.
    Claim(Key),
    /// This VolumeSnapshot.
    Snapshot(Key),
    /// What this DataSource points to.
    DataSource(Key),
    /// A kind of source that Decant does not clone.
    NotOurs(String),
}

/// Why a DataVolume cannot be carried out as it is written. The texts are CDI's where CDI has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where in the object.
    pub field: &'static str,
    /// For people.
    pub message: String,
}

impl Wanted {
    /// The object to clone, if it is known.
    pub fn object(&self) -> Option<ClonedObject> {
        match self {
            Wanted::Claim(key) => Some(ClonedObject::claim(key.clone())),
            Wanted::Snapshot(key) => Some(ClonedObject::snapshot(key.clone())),
            Wanted::DataSource(_) | Wanted::NotOurs(_) => None,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn invalid<T>(field: &'static str, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { field, message: message.into() })
}

/// The value of `checked`, or why it cannot be read.
fn readable<'a, T>(field: &'static str, checked: &'a Checked<T>) -> Result<&'a T, Invalid> {
    checked.0.as_ref().map_err(|e| {
        let message = match e.field.as_str() {
            "" => format!("{field}: {}", e.why),
            inner => format!("{field}.{inner}: {}", e.why),
        };
        Invalid { field, message }
    })
}

/// The source that `dv` requests.
pub fn wanted(dv: &DataVolume) -> Result<Wanted, Invalid> {
    match (&dv.spec.source, &dv.spec.source_ref) {
        (Some(source), None) => source_of(readable("spec.source", source)?),
        (None, Some(reference)) => referred(dv, readable("spec.sourceRef", reference)?),
        _ => invalid(
            "spec.source",
            "Data volume should have either Source or SourceRef, or be externally populated",
        ),
    }
}

fn source_of(source: &Source) -> Result<Wanted, Invalid> {
    match (&source.pvc, &source.snapshot, source.others.as_slice()) {
        (None, None, []) => invalid("spec.source", "Missing Data volume source"),
        (Some(claim), None, []) => claim_source(claim),
        (None, Some(snapshot), []) => snapshot_source(snapshot),
        (None, None, [kind]) => Ok(Wanted::NotOurs(kind.clone())),
        _ => invalid("spec.source", "Multiple Data volume sources"),
    }
}

fn referred(dv: &DataVolume, reference: &SourceRef) -> Result<Wanted, Invalid> {
    match reference.kind.as_str() {
        "" => invalid("spec.sourceRef.kind", "Missing sourceRef kind"),
        "DataSource" if reference.name.is_empty() => invalid("spec.sourceRef.name", "Missing sourceRef name"),
        "DataSource" => {
            let namespace = reference.namespace.as_deref().unwrap_or(&dv.metadata.namespace);
            Ok(Wanted::DataSource(Key::new(namespace, &reference.name)))
        }
        kind => invalid(
            "spec.sourceRef.kind",
            format!("Unsupported sourceRef kind {kind}, currently only DataSource is supported"),
        ),
    }
}

fn claim_source(claim: &Checked<ClaimSource>) -> Result<Wanted, Invalid> {
    const FIELD: &str = "spec.source.PVC";
    match &claim.0 {
        Ok(claim) if !claim.namespace.is_empty() && !claim.name.is_empty() => {
            Ok(Wanted::Claim(Key::new(&claim.namespace, &claim.name)))
        }
        Ok(_) => invalid(FIELD, "spec.source.PVC source PVC is not valid"),
        Err(e) => invalid(FIELD, format!("spec.source.PVC source PVC is not valid: {e}")),
    }
}

fn snapshot_source(snapshot: &Checked<ClaimSource>) -> Result<Wanted, Invalid> {
    const FIELD: &str = "spec.source.Snapshot";
    match &snapshot.0 {
        Ok(snapshot) if !snapshot.namespace.is_empty() && !snapshot.name.is_empty() => {
            Ok(Wanted::Snapshot(Key::new(&snapshot.namespace, &snapshot.name)))
        }
        Ok(_) => invalid(FIELD, "spec.source.Snapshot source snapshot is not valid"),
        Err(e) => invalid(FIELD, format!("spec.source.Snapshot source snapshot is not valid: {e}")),
    }
}

/// What `source` points to. A DataSource may point to another DataSource of its namespace, once.
pub fn resolve(source: &DataSource) -> Result<Wanted, String> {
    let DataSourceTarget { pvc, snapshot, data_source } = &source.spec.source;
    let namespace_or_own = |target: &ClaimSource| match target.namespace.as_str() {
        "" => source.metadata.namespace.clone(),
        other => other.to_owned(),
    };
    match (pvc, snapshot, data_source) {
        (Some(pvc), None, None) => Ok(Wanted::Claim(Key::new(namespace_or_own(pvc), &pvc.name))),
        (None, Some(snapshot), None) => {
            Ok(Wanted::Snapshot(Key::new(namespace_or_own(snapshot), &snapshot.name)))
        }
        (None, None, Some(other)) if namespace_or_own(other) == source.metadata.namespace => {
            Ok(Wanted::DataSource(Key::new(&source.metadata.namespace, &other.name)))
        }
        (None, None, Some(_)) => Err("it points to a DataSource of another namespace".to_owned()),
        _ => Err("it does not point to exactly one source".to_owned()),
    }
}

/// The checks of CDI's webhook (docs/protocol.md section 4.3). The controller repeats them, because the webhook may be
/// missing.
pub fn validate(dv: &DataVolume) -> Result<(), Invalid> {
    if dv.metadata.name.len() > NAME_MAX_BYTES {
        return invalid("metadata.name", "Name cannot be longer than 253 characters");
    }
    if let Some(Err(e)) = dv.metadata.annotation(BANDWIDTH_LIMIT).map(str::parse::<Rate>) {
        return invalid("metadata.annotations", format!("{BANDWIDTH_LIMIT}: {e}"));
    }
    if let Some(streams) = dv.metadata.annotation(STREAMS)
        && !streams.parse().is_ok_and(|count| (1..=STREAMS_LIMIT).contains(&count))
    {
        let text = format!("{STREAMS}: {streams:?} is no number of connections from 1 to {STREAMS_LIMIT}");
        return invalid("metadata.annotations", text);
    }
    if let Some(how) = dv.metadata.annotation(VERIFY).filter(|how| *how != READBACK) {
        return invalid("metadata.annotations", format!("{VERIFY}: {how:?} is not known, only {READBACK:?}"));
    }
    if let Some(how) = dv.metadata.annotation(TRANSFER)
        && !TRANSFERS.contains(&how)
    {
        let text = format!("{TRANSFER}: {how:?} is none of \"auto\", \"direct\" and \"network\"");
        return invalid("metadata.annotations", text);
    }
    if let Some(what) = dv.metadata.annotation(SOURCE_IN_USE)
        && !["wait", "snapshot"].contains(&what)
    {
        let text = format!("{SOURCE_IN_USE}: {what:?} is neither \"wait\" nor \"snapshot\"");
        return invalid("metadata.annotations", text);
    }
    PodSettings::of(&dv.metadata)?;
    let wanted = wanted(dv)?;
    match (&dv.spec.pvc, &dv.spec.storage) {
        (None, None) => invalid("spec", "Missing Data volume PVC"),
        (Some(_), Some(_)) => {
            invalid("spec", "Duplicate storage definition, both target storage and target pvc defined")
        }
        (Some(pvc), None) => {
            let pvc = readable("spec.pvc", pvc)?;
            size(pvc, "PVC", false)?;
            class(pvc)?;
            access_modes(pvc)
        }
        (None, Some(storage)) => {
            let storage = readable("spec.storage", storage)?;
            size(storage, "Storage", !matches!(wanted, Wanted::NotOurs(_)))?;
            class(storage)
        }
    }
}

fn size(spec: &ClaimTemplate, what: &str, may_be_missing: bool) -> Result<(), Invalid> {
    const FIELD: &str = "spec.resources.requests.storage";
    let Some(text) = spec.requested() else {
        return if may_be_missing { Ok(()) } else { invalid(FIELD, format!("{what} size is missing")) };
    };
    if text == "0" || text.starts_with('-') {
        return invalid(FIELD, format!("{what} size can't be equal or less than zero"));
    }
    match parse_quantity(text) {
        Ok(0) => invalid(FIELD, format!("{what} size can't be equal or less than zero")),
        Ok(bytes) if bytes < MIB_BYTES => invalid(FIELD, format!("{what} size should be at least 1MiB")),
        Ok(_) => Ok(()),
        Err(e) => invalid(FIELD, format!("{what} size {text:?} is not a quantity such as 10Gi: {e}")),
    }
}

fn class(spec: &ClaimTemplate) -> Result<(), Invalid> {
    match &spec.storage_class_name {
        Some(name) if name.len() > NAME_MAX_BYTES => {
            invalid("spec.storageClassName", "Name cannot be longer than 253 characters")
        }
        _ => Ok(()),
    }
}

fn access_modes(pvc: &ClaimTemplate) -> Result<(), Invalid> {
    const FIELD: &str = "spec.pvc.accessModes";
    const KNOWN: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    match pvc.access_modes.as_slice() {
        [] => invalid(FIELD, "Required value: at least 1 access mode is required"),
        [mode] if KNOWN.contains(&mode.as_str()) => Ok(()),
        [mode] => invalid(
            FIELD,
            format!("Unsupported value: {mode:?}: supported values: \"{}\"", KNOWN.join("\", \"")),
        ),
        _ => invalid(FIELD, "PVC multiple accessModes"),
    }
}

#[cfg(test)]
mod tests;
