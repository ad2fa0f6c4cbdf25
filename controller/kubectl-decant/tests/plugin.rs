//! `kubectl decant` where no cluster is needed: kubeconfigs, the command line, and the documents about them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use decant_test_support::generated;
use decant_test_support::net::Closed;
use kubectl_decant::{Cli, Ending};

/// Runs the plugin with nothing in its environment but `variables`; returns code and standard error.
fn plugin(args: &[&str], variables: &[(&str, &Path)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-decant"));
    let output = command.args(args).env_clear().envs(variables.iter().copied()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn kubeconfig(directory: &Path, context: &str, port: u16) -> PathBuf {
    let path = directory.join(context);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters:\n- name: {context}\n  cluster: {{server: \
         'https://127.0.0.1:{port}'}}\ncontexts:\n- name: {context}\n  context: {{cluster: {context}, user: u}}\nusers:\n\
         - name: u\n  user: {{token: t}}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn without_a_kubeconfig_the_searched_paths_are_named() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = plugin(&["status"], &[("HOME", home.path())]);
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("error: no cluster is configured") && text.contains(".kube/config"), "{text}");
}

#[test]
fn an_unknown_context_is_named_with_the_known_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = kubeconfig(directory.path(), "lab", 9);
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("context \"prod\" does not exist") && text.contains("there are: lab"), "{text}");
}

#[test]
fn an_unreachable_server_is_reported_immediately_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let closed = Closed::new();
    let file = kubeconfig(directory.path(), "lab", closed.port());
    for command in [&["status"][..], &["clone", "golden"], &["doctor"], &["cleanup"]] {
        let (code, text) = plugin(&[&["--kubeconfig", file.to_str().unwrap()], command].concat(), &[]);
        assert_eq!(code, 5, "{command:?}: {text}");
        assert!(text.starts_with("The API server https://127.0.0.1:"), "{text}");
        assert!(
            text.contains("cannot be reached")
                && text.contains("refused")
                && text.contains("kubectl config view"),
            "{text}"
        );
    }
}

#[test]
fn all_existing_files_of_kubeconfig_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let closed = Closed::new();
    let lab = kubeconfig(directory.path(), "lab", closed.port());
    let prod = kubeconfig(directory.path(), "prod", closed.port());
    let list = std::env::join_paths([&directory.path().join("none"), &lab, &prod]).unwrap();
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 5, "the context of the second file leads to a server: {text}");
    let (code, text) = plugin(&["status", "--context", "x"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 2);
    assert!(text.contains("there are: lab, prod") && !text.contains("none"), "{text}");
}

#[test]
fn a_silent_server_times_out_after_the_request_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = kubeconfig(directory.path(), "lab", listener.local_addr().unwrap().port());
    let (code, text) = plugin(&["status", "--request-timeout", "1s"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 5, "{text}");
}

#[test]
fn an_invalid_duration_or_size_is_refused_before_any_request() {
    for (args, word) in [
        (&["status", "--request-timeout", "soon"][..], "30s"),
        (&["clone", "golden", "--size", "big"], "20Gi"),
        (&["clone", "golden", "--timeout", "5m"], "--wait"),
    ] {
        let (code, text) = plugin(args, &[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(word), "{text}");
    }
}

/// A table of a command's flags.
fn flags_of(command: &clap::Command) -> String {
    let is_flag = |flag: &&clap::Arg| flag.get_long().is_some_and(|long| long != "help");
    let rows = command.get_arguments().filter(is_flag).map(|flag| {
        let short = flag.get_short().map(|short| format!(", `-{short}`")).unwrap_or_default();
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = default.join(",");
        let is_said = default.is_empty() || default == "false" || help.contains(&default);
        let default = if is_said { String::new() } else { format!(" (default `{default}`)") };
        let help = help.trim_end_matches('.').replace('|', "\\|");
        vec![format!("`--{}`{short}", flag.get_long().unwrap()), format!("{help}{default}")]
    });
    generated::table(&["Flag", "Meaning"], rows)
}

fn exit_codes() -> String {
    let rows = Ending::ALL.iter().map(|ending| vec![ending.code().to_string(), ending.sentence().to_owned()]);
    generated::table(&["Code", "Meaning"], rows)
}

#[test]
fn the_generated_tables_are_those_of_the_code() {
    let cli = Cli::command();
    let commands = cli.get_subcommands().filter(|command| command.get_name() != "help");
    let mut tables: Vec<(String, String)> =
        commands.map(|command| (format!("plugin-{}", command.get_name()), flags_of(command))).collect();
    tables.push(("plugin-exit-codes".to_owned(), exit_codes()));
    let tables: Vec<(&str, String)> =
        tables.iter().map(|(name, table)| (name.as_str(), table.clone())).collect();
    generated::check(&tables, "cargo test -p kubectl-decant --test plugin");
}

#[test]
fn the_document_has_every_flag_of_all_commands() {
    let page = include_str!("../../../docs/operations.md");
    for flag in Cli::command().get_arguments().filter_map(|flag| flag.get_long()) {
        let is_usual = matches!(flag, "help" | "version");
        assert!(is_usual || page.contains(&format!("`--{flag}`")), "docs/operations.md lacks --{flag}");
    }
}
