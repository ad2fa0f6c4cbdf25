//! Registers Decant's kinds of data source as VolumePopulators, where that kind is defined.

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::api::listing;
use crate::objects::volume_populator::{self, REGISTERED, VolumePopulator};
use crate::objects::{Kind, decode};
use crate::policy::Scope;

/// Creates the registrations that are missing, and reports those of other controllers for the same kinds. Clones work
/// without a registration, so a failure is only logged.
pub(super) fn register(cluster: &dyn Cluster, scope: Scope) {
    match missing(cluster, scope) {
        Ok(missing) => {
            for (name, kind) in missing {
                create(cluster, name, kind);
            }
        }
        Err(e) if e.is_not_found() => log::debug!("VolumePopulators are not defined in this cluster"),
        Err(e) => log::warn!("cannot list VolumePopulators: {e}"),
    }
}

fn missing(cluster: &dyn Cluster, scope: Scope) -> Result<Vec<(&'static str, Kind)>, ApiError> {
    let mut found: Vec<VolumePopulator> = Vec::new();
    listing::list(cluster, Kind::VolumePopulator, &ListParams::default(), |object| {
        found.extend(decode(object).ok());
    })?;
    for other in &found {
        if let Some(kind) = other.competes_for().filter(|kind| is_served(*kind, scope)) {
            log::warn!(
                "VolumePopulator {} is a second populator for the same kind, {}: PVCs with such a data source may be filled \
                 twice; remove the other controller, or have it ignore this kind",
                other.metadata.name,
                kind.name(),
            );
        }
    }
    let is_missing = |name: &str| !found.iter().any(|populator| populator.metadata.name == name);
    let wanted = REGISTERED.into_iter().filter(|(name, kind)| is_served(*kind, scope) && is_missing(name));
    Ok(wanted.collect())
}

/// Whether this controller fills PVCs with this kind of data source.
fn is_served(kind: Kind, scope: Scope) -> bool {
    scope == Scope::All || kind == Kind::CloneSource
}

fn create(cluster: &dyn Cluster, name: &str, kind: Kind) {
    match cluster.create(Kind::VolumePopulator, &volume_populator::object(name, kind)) {
        Ok(_) => log::info!("registered the data source {} as VolumePopulator {name}", kind.name()),
        Err(e) if e.already_exists() => {}
        Err(e) => log::warn!("cannot create VolumePopulator {name}: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::cluster::{ListPage, not_expected};
    use crate::objects::Object;

    /// A cluster that has only VolumePopulators; `None` if they are not defined.
    struct Registry(Option<Mutex<Vec<Value>>>);

    fn missing_kind() -> ApiError {
        ApiError { code: 404, reason: "NotFound".to_owned(), message: String::new() }
    }

    impl Cluster for Registry {
        fn list(&self, kind: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
            assert_eq!(kind, Kind::VolumePopulator);
            let objects = self.0.as_ref().ok_or_else(missing_kind)?.lock().unwrap().clone();
            Ok(ListPage { items: objects.into_iter().map(Object::from).collect(), ..ListPage::default() })
        }

        fn create(&self, _: Kind, object: &Value) -> Result<Object, ApiError> {
            self.0.as_ref().unwrap().lock().unwrap().push(object.clone());
            Ok(object.clone().into())
        }

        not_expected!(get, watch, patch, replace, delete, pod_proxy);
    }

    #[test]
    fn both_kinds_are_registered_once_and_other_registrations_stay() {
        let other = volume_populator::object("other", Kind::CloneSource);
        let registry = Registry(Some(Mutex::new(vec![other.clone()])));
        register(&registry, Scope::All);
        register(&registry, Scope::All);
        let found = registry.0.unwrap().into_inner().unwrap();
        let kind = |group: &str, kind: &str| json!({ "group": group, "kind": kind });
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], other);
        assert_eq!(found[1]["sourceKind"], kind("decant.dev", "CloneSource"));
        assert_eq!(found[2]["sourceKind"], kind("cdi.kubevirt.io", "VolumeCloneSource"));
    }

    #[test]
    fn nothing_is_created_where_the_kind_is_not_defined() {
        register(&Registry(None), Scope::All);
    }
}
