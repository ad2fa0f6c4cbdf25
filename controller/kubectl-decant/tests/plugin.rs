//! `kubectl decant` without a cluster: kubeconfigs, the command line, and the documents about them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use decant_controller::summary::advice::ADVICE;
use kubectl_decant::{Cli, Ending};

const DOCUMENT: &str = include_str!("../../../docs/kubectl.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn without_a_kubeconfig_the_error_lists_the_searched_paths() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = plugin(&["status"], &[("HOME", home.path())]);
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("error: no cluster is configured") && text.contains(".kube/config"), "{text}");
}

#[test]
fn a_missing_context_is_named_with_the_existing_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = kubeconfig(directory.path(), "lab", 9);
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("context \"prod\" does not exist") && text.contains("there are: lab"), "{text}");
}

#[test]
fn an_unreachable_server_is_reported_immediately_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let file = kubeconfig(directory.path(), "lab", free_port());
    for command in [&["status"][..], &["clone", "golden"], &["doctor"], &["cleanup"]] {
        let asked = Instant::now();
        let (code, text) = plugin(&[&["--kubeconfig", file.to_str().unwrap()], command].concat(), &[]);
        assert_eq!(code, 5, "{command:?}: {text}");
        assert!(text.starts_with("The API server https://127.0.0.1:"), "{text}");
        assert!(
            text.contains("cannot be reached")
                && text.contains("refused")
                && text.contains("kubectl config view"),
            "{text}"
        );
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn several_files_in_kubeconfig_are_merged_and_missing_ones_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let (lab, prod) =
        (kubeconfig(directory.path(), "lab", free_port()), kubeconfig(directory.path(), "prod", free_port()));
    let list = std::env::join_paths([&directory.path().join("none"), &lab, &prod]).unwrap();
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 5, "the context of the second file leads to a server: {text}");
    let (code, text) = plugin(&["status", "--context", "x"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 2);
    assert!(text.contains("there are: lab, prod") && !text.contains("none"), "{text}");
}

#[test]
fn the_request_timeout_limits_a_silent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = kubeconfig(directory.path(), "lab", listener.local_addr().unwrap().port());
    let asked = Instant::now();
    let (code, text) = plugin(&["status", "--request-timeout", "1s"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 5, "{text}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[test]
fn invalid_durations_and_sizes_are_refused_before_any_request() {
    for (args, hint) in [
        (&["status", "--request-timeout", "soon"][..], "30s"),
        (&["clone", "golden", "--size", "big"], "20Gi"),
        (&["clone", "golden", "--timeout", "5m"], "--wait"),
    ] {
        let (code, text) = plugin(args, &[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(hint), "{text}");
    }
}

#[test]
fn the_document_has_every_command_and_every_flag() {
    let cli = Cli::command();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let heading = format!("## kubectl decant {}", command.get_name());
        let section = DOCUMENT.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n## ").next().unwrap();
        for flag in command.get_arguments().filter_map(|flag| flag.get_long()).filter(|long| *long != "help")
        {
            assert!(section.contains(&format!("`--{flag}")), "{heading} does not mention --{flag}");
        }
    }
    for flag in cli
        .get_arguments()
        .filter_map(|flag| flag.get_long())
        .filter(|long| !matches!(*long, "help" | "version"))
    {
        assert!(DOCUMENT.contains(&format!("`--{flag}`")), "--{flag}");
    }
}

#[test]
fn the_document_has_every_exit_code() {
    for ending in Ending::ALL {
        let row = format!("| {} | {} |", ending.code(), ending.sentence());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn the_plugin_has_advice_for_exactly_the_documented_reasons() {
    let start = OPERATIONS.find("| Reason |").unwrap();
    let rows = OPERATIONS[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    let documented: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`'))
        .filter(|word| word.chars().next().is_some_and(|c| c.is_ascii_uppercase()))
        .collect();
    let known: BTreeSet<&str> = ADVICE.iter().map(|advice| advice.reason).collect();
    assert_eq!(documented, known);
}
