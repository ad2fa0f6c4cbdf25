//! Checks the storage classes.

use crate::doctor::{Check, Installation};
use crate::session::list;
use decant_controller::api::cluster::ListParams;
use decant_controller::objects::{Kind, StorageClass};

const ABOUT: &str = "storage classes";

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    vec![match list(&installation.session.cluster, Kind::StorageClass, &ListParams::default()) {
        Ok((classes, _)) => judge(&classes),
        Err(e) => Check::unreadable(ABOUT, &e),
    }]
}

fn judge(classes: &[StorageClass]) -> Check {
    let names = |list: Vec<&StorageClass>| {
        list.iter().map(|class| class.metadata.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let defaults: Vec<&StorageClass> = classes.iter().filter(|class| class.is_default()).collect();
    if classes.is_empty() {
        return Check::fail(
            ABOUT,
            "not found: only statically provisioned volumes can be bound",
            "install a storage provider",
        );
    }
    let all = names(classes.iter().collect());
    let virt: Vec<&StorageClass> = classes.iter().filter(|class| class.is_virt_default()).collect();
    let for_machines =
        if virt.is_empty() { String::new() } else { format!("; for virtual machines {}", names(virt)) };
    match defaults.len() {
        0 => Check::note(
            ABOUT,
            format!(
                "{all}; there is no default: clones have to name a class (--storage-class){for_machines}"
            ),
        ),
        1 => Check::ok(ABOUT, format!("{all}; the default is {}{for_machines}", names(defaults))),
        _ => Check::note(ABOUT, format!("{all}; there are several defaults: {}", names(defaults))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use serde_json::json;

    #[test]
    fn a_missing_class_is_a_failure_and_a_missing_default_is_a_note() {
        let class = |default: &str| -> StorageClass {
            let annotations = json!({ "storageclass.kubernetes.io/is-default-class": default });
            serde_json::from_value(json!({ "metadata": { "name": "fast", "annotations": annotations } }))
                .unwrap()
        };
        assert_eq!(judge(&[]).state, State::Fail);
        assert_eq!(judge(&[class("false")]).state, State::Note);
        assert_eq!(judge(&[class("true")]).state, State::Ok);
        let mut both = class("true");
        let mark = "storageclass.kubevirt.io/is-default-virt-class".to_owned();
        both.metadata.annotations.insert(mark, "true".to_owned());
        assert_eq!(judge(&[both]).found, "fast; the default is fast; for virtual machines fast");
        assert_eq!(judge(&[class("true"), class("true")]).state, State::Note);
    }
}
