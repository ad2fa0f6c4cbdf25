//! Whether Decant is installed beside CDI, where DataVolumes are CDI's.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::objects::{Key, Kind, decode};

/// The namespace of the controller, unless a flag names another.
pub(super) const CONTROLLER_NAMESPACE: &str = "decant-system";
const FLAG: &str = "--beside-cdi";
const VARIABLE: &str = "DECANT_BESIDE_CDI";

/// The fields of the controller's Deployment that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControllerDeployment {
    spec: ControllerDeploymentSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControllerDeploymentSpec {
    template: ControllerTemplate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControllerTemplate {
    spec: ControllerPodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControllerPodSpec {
    containers: Vec<ControllerContainer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ControllerContainer {
    args: Vec<String>,
    env: Vec<Variable>,
    env_from: Vec<VariableSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VariableSource {
    config_map_ref: Option<ConfigMapRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMapRef {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    data: BTreeMap<String, String>,
}

/// Whether the controller in `namespace` runs with `--beside-cdi`; `None` if there is no Deployment of it.
pub(super) fn is_beside_cdi(session: &Session, namespace: &str) -> Result<Option<bool>, ApiError> {
    let labels = "app.kubernetes.io/name=decant-controller".to_owned();
    let params = ListParams { namespace: Some(namespace.to_owned()), labels, ..ListParams::default() };
    let (deployments, _) = list::<ControllerDeployment>(&session.cluster, Kind::Deployment, &params)?;
    let Some(deployment) = deployments.into_iter().next() else { return Ok(None) };
    for container in &deployment.spec.template.spec.containers {
        if let Some(is_beside) = in_container(container) {
            return Ok(Some(is_beside));
        }
        let sources = container.env_from.iter().filter_map(|source| source.config_map_ref.as_ref());
        for source in sources {
            let key = Key::new(namespace, &source.name);
            let found = match session.cluster.get(Kind::ConfigMap, &key) {
                Ok(object) => decode::<ConfigMap>(object).unwrap_or_default(),
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            if let Some(text) = found.data.get(VARIABLE) {
                return Ok(Some(text == "true"));
            }
        }
    }
    Ok(Some(false))
}

/// The setting in the container itself, which takes precedence over ConfigMaps.
fn in_container(container: &ControllerContainer) -> Option<bool> {
    let has_flag = container.args.iter().any(|arg| arg == FLAG).then_some(true);
    let variable = || container.env.iter().find(|variable| variable.name == VARIABLE);
    has_flag.or_else(|| variable().map(|variable| variable.value == "true"))
}

/// The same for commands that have no flag for the namespace, and whose users may lack the right to read it.
pub(super) fn known(session: &Session) -> Option<bool> {
    is_beside_cdi(session, CONTROLLER_NAMESPACE).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn setting(container: Value) -> Option<bool> {
        in_container(&serde_json::from_value(container).unwrap())
    }

    #[test]
    fn the_flag_and_the_variable_are_found() {
        assert_eq!(setting(json!({ "args": ["run", "--beside-cdi"] })), Some(true));
        assert_eq!(setting(json!({ "env": [{ "name": VARIABLE, "value": "true" }] })), Some(true));
        assert_eq!(setting(json!({ "env": [{ "name": VARIABLE, "value": "false" }] })), Some(false));
        assert_eq!(setting(json!({ "args": ["run"] })), None);
    }
}
