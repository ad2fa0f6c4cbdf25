//! `kubectl decant` where no cluster is needed: kubeconfigs, the command line, and the documents about them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use decant_controller::summary::advice::ADVICE;
use decant_test_support::net::Closed;
use kubectl_decant::{Cli, Ending};

const DOCUMENT: &str = include_str!("../../../docs/kubectl.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// Runs the plugin with nothing in its environment but `variables`; returns code and standard error.
fn plugin(args: &[&str], variables: &[(&str, &Path)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-decant"));
    let output = command.args(args).env_clear().envs(variables.iter().copied()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn kubeconfig(folder: &Path, context: &str, port: u16) -> PathBuf {
    let path = folder.join(context);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters:\n- name: {context}\n  cluster: {{server: \
         'https://127.0.0.1:{port}'}}\ncontexts:\n- name: {context}\n  context: {{cluster: {context}, user: u}}\nusers:\n\
         - name: u\n  user: {{token: t}}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn without_any_kubeconfig_it_says_where_it_looked() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = plugin(&["status"], &[("HOME", home.path())]);
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("error: no cluster is configured") && text.contains(".kube/config"), "{text}");
}

#[test]
fn a_context_that_does_not_exist_is_named_with_those_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = kubeconfig(folder.path(), "lab", 9);
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("context \"prod\" does not exist") && text.contains("there are: lab"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Closed::new();
    let file = kubeconfig(folder.path(), "lab", closed.port());
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
fn several_files_in_kubeconfig_are_read_and_missing_ones_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Closed::new();
    let lab = kubeconfig(folder.path(), "lab", closed.port());
    let prod = kubeconfig(folder.path(), "prod", closed.port());
    let list = std::env::join_paths([&folder.path().join("none"), &lab, &prod]).unwrap();
    let (code, text) = plugin(&["status", "--context", "prod"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 5, "the context of the second file leads to a server: {text}");
    let (code, text) = plugin(&["status", "--context", "x"], &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(code, 2);
    assert!(text.contains("there are: lab, prod") && !text.contains("none"), "{text}");
}

#[test]
fn a_silent_server_has_as_long_as_the_flag_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = kubeconfig(folder.path(), "lab", listener.local_addr().unwrap().port());
    let (code, text) = plugin(&["status", "--request-timeout", "1s"], &[("KUBECONFIG", &file)]);
    assert_eq!(code, 5, "{text}");
}

#[test]
fn what_is_no_time_or_size_is_refused_before_anything_is_asked() {
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

#[test]
fn the_document_has_every_command_and_every_flag() {
    let cli = Cli::command();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let heading = format!("## kubectl decant {}", command.get_name());
        let section = DOCUMENT.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n## ").next().unwrap();
        for flag in command.get_arguments().filter_map(|flag| flag.get_long()).filter(|long| *long != "help")
        {
            assert!(section.contains(&format!("`--{flag}")), "{heading} says nothing about --{flag}");
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
fn the_plugin_has_advice_for_exactly_the_reasons_that_are_documented() {
    let start = OPERATIONS.find("| Reason |").unwrap();
    let rows = OPERATIONS[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    let told: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`'))
        .filter(|word| word.chars().next().is_some_and(|c| c.is_ascii_uppercase()))
        .collect();
    let known: BTreeSet<&str> = ADVICE.iter().map(|advice| advice.reason).collect();
    assert_eq!(told, known);
}
