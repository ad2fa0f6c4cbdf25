//! The settings of the cluster and of the controller's flags: which value counts, and where it comes from.

use clap::Parser;

use crate::beside_cdi::command_line;
use crate::doctor::{Check, Installation};
use decant_controller::cli::{Cli, Command};
use decant_controller::cluster_settings::merge::{EffectivePolicy, merge};
use decant_controller::cluster_settings::read::read;
use decant_controller::policy::Policy;

const ABOUT: &str = "settings";

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    let session = installation.session;
    let flags = match command_line(session, installation.namespace) {
        Ok(line) => flags(line),
        Err(e) => Err(e.to_string()),
    };
    let flags = match flags {
        Ok(flags) => flags,
        Err(why) => {
            return vec![Check::note(ABOUT, format!("the flags of the controller are not known: {why}"))];
        }
    };
    match read(&session.cluster) {
        Ok(cluster) => report(&merge(&flags, &cluster)),
        Err(e) => vec![Check::unreadable(ABOUT, &e)],
    }
}

/// The policy of the flags in the command line of the controller.
fn flags(line: Option<Vec<String>>) -> Result<Policy, String> {
    let line = line.ok_or("there is no Deployment")?;
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Run(args)) => Ok(args.policy()),
        Ok(_) => Err("its command is not `run`".to_owned()),
        Err(e) => Err(e.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn report(effective: &EffectivePolicy) -> Vec<Check> {
    let applied = effective.applied.iter().map(|applied| {
        let text = applied.to_string();
        let (name, value) = text.split_once(": ").unwrap_or((&text, ""));
        Check::ok(format!("setting {name}"), value)
    });
    let problems = effective.problems.iter().map(|problem| {
        let mut check = Check::note(ABOUT, problem.as_str());
        check.help =
            "correct it, or set the flag of the controller: docs/operations.md, \"Settings of the cluster\""
                .to_owned();
        check
    });
    applied.chain(problems).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use decant_controller::cluster_settings::read::ClusterConfig;
    use serde_json::json;

    #[test]
    fn each_setting_is_shown_with_its_origin_and_each_problem_is_a_note() {
        let line = ["controller", "run", "--node-selector=disk=fast"].map(str::to_owned);
        let flags = flags(Some(line.to_vec())).unwrap();
        let config = json!({ "metadata": { "name": "config" }, "status": { "preallocation": true, "imagePullSecrets": 7 } });
        let cluster = ClusterConfig {
            config: Some(serde_json::from_value(config).unwrap()),
            ..ClusterConfig::default()
        };
        let lines: Vec<String> =
            report(&merge(&flags, &cluster)).iter().flat_map(|check| check.lines(false)).collect();
        for expected in [
            "ok    setting preallocation: true (CDIConfig status.preallocation)",
            "ok    setting node selector: {\"disk\":\"fast\"} (flag --node-selector)",
            "ok    setting filesystem overhead: 0.06 (default)",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("note  settings: CDIConfig status.imagePullSecrets is ignored")),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_deployment_that_is_missing_or_has_other_arguments_is_reported() {
        assert!(flags(None).is_err());
        assert!(flags(Some(["controller", "crds"].map(str::to_owned).to_vec())).is_err());
        assert!(flags(Some(["controller", "run", "--no-such-flag"].map(str::to_owned).to_vec())).is_err());
        assert_eq!(Check::note(ABOUT, "x").state, State::Note);
    }
}
