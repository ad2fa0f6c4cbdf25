//! A machine with IPv6 alone, as the pods of an IPv6 single-stack cluster: a network namespace whose loopback device has
//! no IPv4 address.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Stdio};

use decant_test_support::is_root;

/// Starts the controller inside, asks for its page until it answers, and ends it. The API server is not there; the page
/// is only about the process.
const SCRIPT: &str = r#"
ip link set lo up && ip address del 127.0.0.1/8 dev lo || exit 1
"$CONTROLLER" run --kubeconfig "$KUBECONFIG_FILE" --probe-listen '[::]:8081' &
controller=$!
trap 'kill $controller' EXIT
for port in 8080 8081; do
    curl --silent --fail --globoff --retry 20 --retry-connrefused --retry-delay 1 "http://[::1]:$port/healthz" || exit 1
done
"#;

#[test]
fn the_default_addresses_answer_with_ipv6_only() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": "https://[::1]:6443", "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "c", "user": { "token": "t" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", SCRIPT])
        .env("CONTROLLER", env!("CARGO_BIN_EXE_controller"))
        .env("KUBECONFIG_FILE", &kubeconfig)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OKOK", "{said}");
}
