//! The words that CDI's pods put on a command line, made into ours.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use crate::commands::cli::Cli;
use crate::commands::environment::Environment;

/// Rewrites the arguments of CDI's pods into ours: long flags with one dash get their second one, klog's
/// flags that have no meaning here are dropped, and where no command is given the environment's role is.
pub fn from_pod(words: Vec<OsString>, environment: &Environment) -> Vec<OsString> {
    let mut words = words.into_iter();
    let program: Vec<OsString> = words.next().into_iter().collect();
    let mut out = Vec::new();
    let mut drop_value = false;
    for word in words {
        if std::mem::take(&mut drop_value) {
            continue;
        }
        match word.to_str().and_then(klog_flag) {
            Some(takes_value) => drop_value = takes_value,
            None => out.push(with_two_dashes(word)),
        }
    }
    let role = if says_what_to_do(&out) { None } else { role_of(environment) };
    program.into_iter().chain(role.map(OsString::from)).chain(out).collect()
}

/// Whether somebody typed a command, rightly or wrongly, or asks for help: then the environment has no say. CDI's
/// pods give flags alone, each with `=` or followed by its value.
fn says_what_to_do(words: &[OsString]) -> bool {
    let first = words.first().and_then(|word| word.to_str()).unwrap_or("-");
    let asks = words.iter().any(|word| word.to_str().is_some_and(is_question));
    let names = words.iter().any(|word| word.to_str().is_some_and(is_command));
    asks || names || !first.starts_with('-')
}

fn is_question(word: &str) -> bool {
    matches!(word, "-h" | "--help" | "-V" | "--version")
}

/// As the command line itself has them: a list of our own would lack the next one.
fn is_command(word: &str) -> bool {
    word == "help" || Cli::command().get_subcommands().any(|command| command.get_name() == word)
}

/// The role that the environment asks for.
fn role_of(environment: &Environment) -> Option<&'static str> {
    let certificate = environment.has("TLS_CERT_FILE") || environment.has("TLS_CERT");
    if environment.has("UPLOAD_URL") {
        Some("source")
    } else if certificate && environment.has("CLIENT_NAME") {
        Some("target")
    } else {
        None
    }
}

/// Whether `word` is a flag of klog that we ignore, and if so whether the next word is its value.
fn klog_flag(word: &str) -> Option<bool> {
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
    let (name, value) = split_flag(word)?;
    if SWITCHES.contains(&name) {
        Some(false)
    } else if VALUES.contains(&name) {
        Some(value.is_none())
    } else {
        None
    }
}

/// `-name` or `--name`, with or without `=value`.
fn split_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value))))
}

fn with_two_dashes(word: OsString) -> OsString {
    let single = word.to_str().filter(|text| !text.starts_with("--")).and_then(split_flag);
    if !matches!(single, Some(("content-type" | "mount" | "upload-bytes", _))) {
        return word;
    }
    let mut flag = OsString::from("-");
    flag.push(OsStr::new(&word));
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
    fn a_command_that_was_typed_runs_whatever_the_environment_says_and_wherever_it_stands() {
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
    fn the_words_of_cdis_startup_script_make_a_source() {
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
    fn both_generations_of_target_environments_make_a_target() {
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
    fn questions_and_typing_errors_are_not_taken_for_a_role() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        for line in ["cloner --version", "cloner -h", "cloner cpoy a b"] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(from_pod(words.clone(), &environment), words, "{line}");
        }
    }
}
