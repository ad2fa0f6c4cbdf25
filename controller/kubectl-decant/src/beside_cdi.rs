//! Whether Decant is installed beside CDI, where DataVolumes are CDI's.

use std::collections::BTreeMap;

use clap::CommandFactory;
use serde::Deserialize;

use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::cli::Cli;
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

/// The command line of the controller in `namespace`, with its environment variables as flags; `None` if there is no
/// Deployment of it.
pub(super) fn command_line(session: &Session, namespace: &str) -> Result<Option<Vec<String>>, ApiError> {
    let Some(deployment) = deployment(session, namespace)? else { return Ok(None) };
    let Some(container) = deployment.spec.template.spec.containers.first() else { return Ok(None) };
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().filter_map(|source| source.config_map_ref.as_ref()) {
        variables.extend(config_map(session, namespace, &source.name)?.data);
    }
    let own = container.env.iter().map(|variable| (variable.name.clone(), variable.value.clone()));
    variables.extend(own);
    Ok(Some(with_variables(&container.args, &variables)))
}

/// `args` of the controller, with each variable of a flag that is not among them.
fn with_variables(args: &[String], variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut line = vec!["controller".to_owned()];
    line.extend(args.first().cloned());
    let cli = Cli::command();
    let command = args.first().and_then(|name| cli.find_subcommand(name));
    for flag in command.into_iter().flat_map(clap::Command::get_arguments) {
        let (Some(long), Some(variable)) = (flag.get_long(), flag.get_env().and_then(|name| name.to_str()))
        else {
            continue;
        };
        let long = format!("--{long}");
        let is_named = args.iter().any(|arg| arg.split('=').next() == Some(&long));
        match variables.get(variable).filter(|value| !value.is_empty() && !is_named) {
            Some(value) if flag.get_action().takes_values() => line.push(format!("{long}={value}")),
            Some(value) if value == "true" => line.push(long),
            _ => {}
        }
    }
    line.extend(args.iter().skip(1).cloned());
    line
}

fn deployment(session: &Session, namespace: &str) -> Result<Option<ControllerDeployment>, ApiError> {
    let labels = "app.kubernetes.io/name=decant-controller".to_owned();
    let params = ListParams { namespace: Some(namespace.to_owned()), labels, ..ListParams::default() };
    let (deployments, _) = list::<ControllerDeployment>(&session.cluster, Kind::Deployment, &params)?;
    Ok(deployments.into_iter().next())
}

/// An empty one if there is none of this name.
fn config_map(session: &Session, namespace: &str, name: &str) -> Result<ConfigMap, ApiError> {
    match session.cluster.get(Kind::ConfigMap, &Key::new(namespace, name)) {
        Ok(object) => Ok(decode::<ConfigMap>(object).unwrap_or_default()),
        Err(e) if e.is_not_found() => Ok(ConfigMap::default()),
        Err(e) => Err(e),
    }
}

/// Whether the controller in `namespace` runs with `--beside-cdi`; `None` if there is no Deployment of it.
pub(super) fn is_beside_cdi(session: &Session, namespace: &str) -> Result<Option<bool>, ApiError> {
    let Some(deployment) = deployment(session, namespace)? else { return Ok(None) };
    for container in &deployment.spec.template.spec.containers {
        if let Some(is_beside) = in_container(container) {
            return Ok(Some(is_beside));
        }
        let sources = container.env_from.iter().filter_map(|source| source.config_map_ref.as_ref());
        for source in sources {
            let found = config_map(session, namespace, &source.name)?;
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

    #[test]
    fn variables_become_the_flags_that_the_arguments_do_not_name() {
        let args = ["run", "--filesystem-overhead=0.1", "--listen", "[::]:1"].map(str::to_owned);
        let variables = [
            ("DECANT_FILESYSTEM_OVERHEAD", "0.2"),
            ("DECANT_PREALLOCATION", "false"),
            ("DECANT_BESIDE_CDI", "true"),
            ("DECANT_STATUS_PAGE", "false"),
            ("DECANT_LISTEN", "[::]:2"),
            ("OTHER", "x"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut line = with_variables(&args, &variables);
        assert_eq!(line.split_off(line.len() - 3), args[1..]);
        line[2..].sort();
        assert_eq!(line, ["controller", "run", "--beside-cdi", "--preallocation=false"]);
    }
}
