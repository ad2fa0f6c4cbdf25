//! A status, written.

use serde_json::{Map, Value, json};

use crate::objects::data_volume::DataVolumeStatus;

/// A merge patch that makes the status `new`: only what differs, and null for what is no longer said.
pub fn status_patch(old: &DataVolumeStatus, new: &DataVolumeStatus) -> Value {
    let (old, new) = (json!(old), json!(new));
    let mut patch = Map::new();
    for (name, value) in new.as_object().into_iter().flatten() {
        if old.get(name) != Some(value) {
            patch.insert(name.clone(), value.clone());
        }
    }
    for name in old.as_object().into_iter().flat_map(Map::keys) {
        if new.get(name).is_none() {
            patch.insert(name.clone(), Value::Null);
        }
    }
    json!({ "status": patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_differs_and_removes_what_is_gone() {
        let old = DataVolumeStatus {
            phase: "Pending".to_owned(),
            claim_name: "a".to_owned(),
            ..DataVolumeStatus::default()
        };
        let new = DataVolumeStatus {
            phase: "Pending".to_owned(),
            progress: "N/A".to_owned(),
            ..DataVolumeStatus::default()
        };
        assert_eq!(status_patch(&old, &new), json!({ "status": { "progress": "N/A", "claimName": null } }));
    }
}
