//! What a user does: `kubectl`, and `scripts/cluster.sh` for what happens around the cluster.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs `kubectl`; panics with its output if it fails.
pub(crate) fn kubectl(args: &[&str], input: Option<&Value>) -> String {
    let (ok, text) = try_kubectl(args, input);
    assert!(ok, "kubectl {args:?}: {text}");
    text
}

pub(crate) fn try_kubectl(args: &[&str], input: Option<&Value>) -> (bool, String) {
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn script(args: &[&str]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster.sh");
    let output = Command::new(path).args(args).output().expect("scripts/cluster.sh starts");
    assert!(output.status.success(), "cluster.sh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
