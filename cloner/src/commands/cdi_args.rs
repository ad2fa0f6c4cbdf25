//! Translates the command line of CDI's pods.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use crate::commands::cli::Cli;
use crate::commands::environment::Environment;

/// Translates the arguments of CDI's pods. Long flags with one dash get a second dash. klog flags without a meaning
/// here are dropped. Without a command, the environment decides which command runs.
pub fn from_pod(arguments: Vec<OsString>, environment: &Environment) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let program: Vec<OsString> = arguments.next().into_iter().collect();
    let mut out = Vec::new();
    let mut drop_value = false;
    for argument in arguments {
        if std::mem::take(&mut drop_value) {
            continue;
        }
        match argument.to_str().and_then(klog_flag) {
            Some(takes_value) => drop_value = takes_value,
            None => out.push(with_two_dashes(argument)),
        }
    }
    let command = if names_command(&out) { None } else { command_of(environment) };
    program.into_iter().chain(command.map(OsString::from)).chain(out).collect()
}

/// Whether the arguments contain a command, even a misspelled one, or ask for help. If so, the environment decides
/// nothing. CDI's pods pass only flags, each with `=` or followed by its value.
fn names_command(arguments: &[OsString]) -> bool {
    let mut cli = Cli::command();
    // This adds `help`, `--help` and `--version`.
    cli.build();
    let is_known = |argument: &str| {
        matches!(argument, "-h" | "--help" | "-V" | "--version") || cli.find_subcommand(argument).is_some()
    };
    let mut known = arguments.iter().filter_map(|argument| argument.to_str());
    let starts_with_flag = arguments.first().and_then(|first| first.to_str()).unwrap_or("-").starts_with('-');
    !starts_with_flag || known.any(is_known)
}

/// The command that the environment selects.
fn command_of(environment: &Environment) -> Option<&'static str> {
    let certificate = environment.has("TLS_CERT_FILE") || environment.has("TLS_CERT");
    if environment.has("UPLOAD_URL") {
        Some("source")
    } else if certificate && environment.has("CLIENT_NAME") {
        Some("target")
    } else {
        None
    }
}

/// If `argument` is a klog flag that is ignored: whether the next argument is its value. `None` for any other argument.
fn klog_flag(argument: &str) -> Option<bool> {
    const SWITCHES: [&str; 7] = [
        "alsologtostderr",
        "logtostderr",
        "add_dir_header",
        "one_output",
        "skip_headers",
        "skip_log_headers",
        "legacy_stderr_threshold_behavior",
    ];
    const VALUES: [&str; 6] =
        ["log_backtrace_at", "log_dir", "log_file", "log_file_max_size", "stderrthreshold", "vmodule"];
    let (name, value) = split_flag(argument)?;
    if SWITCHES.contains(&name) {
        Some(false)
    } else if VALUES.contains(&name) {
        Some(value.is_none())
    } else {
        None
    }
}

/// The parts of `-name` or `--name`, with or without `=value`.
fn split_flag(argument: &str) -> Option<(&str, Option<&str>)> {
    let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    Some(flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value))))
}

fn with_two_dashes(argument: OsString) -> OsString {
    let single = argument.to_str().filter(|text| !text.starts_with("--")).and_then(split_flag);
    if !matches!(single, Some(("content-type" | "mount" | "upload-bytes", _))) {
        return argument;
    }
    let mut flag = OsString::from("-");
    flag.push(OsStr::new(&argument));
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cli::Command;
    use clap::Parser;
    use std::path::PathBuf;

    fn parse(line: &str, environment: &Environment) -> Cli {
        let words = line.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(from_pod(words, environment)).unwrap()
    }

    #[test]
    fn a_typed_command_runs_in_any_position_and_environment() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        let commands: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert!(commands.iter().any(|name| name == "digest"), "{commands:?}");
        for name in commands {
            let words = ["cloner", "--log-format", "json", &name].map(OsString::from).to_vec();
            assert_eq!(from_pod(words.clone(), &environment), words);
        }
        let digest = parse("cloner --log-format json digest /tmp/x", &environment);
        assert!(matches!(digest.command, Command::Digest(_)), "{digest:?}");
    }

    #[test]
    fn the_arguments_of_cdis_startup_script_run_a_source() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        for line in [
            "cloner -v=3 -alsologtostderr -content-type filesystem-clone -upload-bytes 77 -mount /x",
            "cloner --v=3 --alsologtostderr=true --content-type=filesystem-clone --upload-bytes=77 --mount=/x",
        ] {
            let Command::Source(args) = parse(line, &environment).command else { panic!("{line}") };
            assert_eq!(args.content_type.as_deref(), Some("filesystem-clone"));
            assert_eq!((args.upload_bytes, args.pod.verbosity), (77, 3));
            assert_eq!(args.mount, Some(PathBuf::from("/x")));
        }
    }

    #[test]
    fn both_generations_of_target_environments_run_a_target() {
        for name in ["TLS_CERT_FILE", "TLS_CERT"] {
            let environment = Environment::from([(name, "x"), ("CLIENT_NAME", "y")]);
            let cli = parse("cloner -v=1 -alsologtostderr -stderrthreshold 2", &environment);
            assert!(matches!(cli.command, Command::Target(_)), "{name}");
        }
    }

    #[test]
    fn a_command_wins_over_the_environment() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        assert!(matches!(parse("cloner copy a b", &environment).command, Command::Copy(_)));
        assert!(matches!(parse("cloner --log-format=json copy a b", &environment).command, Command::Copy(_)));
    }

    #[test]
    fn without_command_and_environment_the_usage_is_shown() {
        assert!(Cli::try_parse_from(from_pod(vec!["cloner".into()], &Environment::default())).is_err());
    }

    #[test]
    fn the_environment_does_not_override_help_or_a_misspelled_command() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        for line in ["cloner --version", "cloner -h", "cloner cpoy a b"] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(from_pod(words.clone(), &environment), words, "{line}");
        }
    }
}
