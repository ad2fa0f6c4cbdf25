//! From the API server's JSON to a view.

use serde::de::DeserializeOwned;
use serde_json::{Error, Value};

/// Reads a view. A null anywhere is as good as a missing field: Kubernetes writes it for times that are not known,
/// for example of a container that was lost, and one odd field must not hide a pod.
pub fn view<T: DeserializeOwned>(mut object: Value) -> Result<T, Error> {
    drop_nulls(&mut object);
    serde_json::from_value(object)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Pod;
    use serde_json::json;

    #[test]
    fn a_container_that_was_lost_has_ended_at_an_unknown_time() {
        let ended = json!({ "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null });
        let statuses = json!([{ "name": "c", "state": { "terminated": ended } }]);
        let pod: Pod = view(json!({ "status": { "podIP": null, "containerStatuses": statuses } })).unwrap();
        let ended = pod.status.container_statuses[0].state.terminated.as_ref().unwrap();
        assert_eq!((ended.exit_code, ended.finished_at.as_str()), (137, ""));
    }
}
