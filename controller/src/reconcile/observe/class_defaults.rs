//! Observes the storage class of a claim that is to be created, and its StorageProfile.

use std::sync::Arc;

use crate::api::cluster::{ApiError, ListParams};
use crate::api::listing;
use crate::objects::{self, Key, Kind, StorageClass, StorageProfile};
use crate::pods::class_defaults::{ClassDefaults, fallback_class};
use crate::reconcile::observe::Observer;
use crate::reconcile::observed::Observed;

impl Observer {
    /// The class of the claim that the DataVolume in `seen` asks for, and the StorageProfile of the class if the
    /// DataVolume leaves fields open.
    pub(super) fn class_defaults(&self, seen: &Observed) -> Result<ClassDefaults, ApiError> {
        let (Some(dv), Some(_)) = (&seen.data_volume, &seen.source) else {
            return Ok(ClassDefaults::default());
        };
        let (literal, open) = (&dv.spec.pvc, &dv.spec.storage);
        let Some(Ok(template)) = open.as_ref().or(literal.as_ref()).map(|spec| &spec.0) else {
            return Ok(ClassDefaults::default());
        };
        // The API server knows nothing of a default class for virtual machines.
        let is_for_machine = open.is_some() && !dv.is_archive();
        let class = match template.storage_class_name.as_deref() {
            Some(name) => self.class_named(name)?,
            None => self.fallback_class(is_for_machine)?,
        };
        let named = class.as_ref().filter(|_| open.is_some());
        let profile = named.map(|class| self.storage_profile(&class.metadata.name)).transpose()?.flatten();
        Ok(ClassDefaults { class, profile })
    }

    pub(super) fn class_named(&self, name: &str) -> Result<Option<Arc<StorageClass>>, ApiError> {
        if name.is_empty() {
            return Ok(None);
        }
        match self.cluster.get(Kind::StorageClass, &Key::new("", name)) {
            Ok(object) => Ok(objects::decode(object).ok().map(Arc::new)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn fallback_class(&self, is_for_machine: bool) -> Result<Option<Arc<StorageClass>>, ApiError> {
        let mut classes: Vec<StorageClass> = Vec::new();
        listing::list(&*self.cluster, Kind::StorageClass, &ListParams::default(), |item| {
            classes.extend(objects::decode::<StorageClass>(&item));
        })?;
        Ok(fallback_class(&classes, is_for_machine).cloned().map(Arc::new))
    }

    /// The StorageProfile of the class `name`. One that does not exist, cannot be read or cannot be understood counts as
    /// none: then the fields that it would fill are taken from the source.
    pub(super) fn storage_profile(&self, name: &str) -> Result<Option<Arc<StorageProfile>>, ApiError> {
        let params = ListParams { fields: format!("metadata.name={name}"), ..ListParams::default() };
        let mut found = None;
        let listed =
            listing::list(&*self.cluster, Kind::StorageProfile, &params, |item| {
                match objects::decode::<StorageProfile>(&item) {
                    Ok(profile) if profile.metadata.name == name => found = Some(profile),
                    Ok(_) => {}
                    Err(e) => log::warn!("StorageProfile {name} is ignored: {e}"),
                }
            });
        match listed {
            // The kind is not defined.
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) if e.is_forbidden() => {
                log::warn!(
                    "cannot read StorageProfile {name}: {e}; the source decides about modes and sizes"
                );
                return Ok(None);
            }
            listed => listed?,
        };
        if let Some(Err(why)) = found.as_ref().map(StorageProfile::min_size_bytes) {
            log::warn!("the minimum size in StorageProfile {name} is ignored: {why}");
        }
        Ok(found.map(Arc::new))
    }
}
