//! A machine with IPv6 alone: a network namespace whose loopback device has no IPv4 address. Both ends of a copy are a
//! source and a target that meet over it.

use std::process::{Command, Stdio};

use decant_test_support::is_root;
use decant_test_support::noise;

use super::command::Scratch;

const SCRIPT: &str =
    r#"ip link set lo up && ip address del 127.0.0.1/8 dev lo && exec "$CLONER" copy --wire --quiet a b"#;

#[test]
fn a_copy_works_with_ipv6_only() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let content = noise(1 << 20, 11);
    scratch.file("a", &content);
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", SCRIPT])
        .env("CLONER", env!("CARGO_BIN_EXE_cloner"))
        .current_dir(scratch.at(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(scratch.at("b")).unwrap() == content);
}
