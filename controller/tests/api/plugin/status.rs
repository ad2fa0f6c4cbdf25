//! `kubectl decant status`.

use std::process::{Command, Stdio};

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use super::{
    command, end, interrupt, make_claim, make_data_volume, make_populated_claim, plugin, populated,
    populating, program, running, succeeded, wait_for_the_watch, write_population, write_status,
};
use crate::sandbox::{Sandbox, kubeconfig};

#[test]
fn running_clones_are_listed_first_with_bars() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        make_data_volume(&sandbox, name);
    }
    write_status(&sandbox, "a", &succeeded());
    write_status(
        &sandbox,
        "b",
        &json!({ "phase": "CloneScheduled", "progress": "N/A", "conditions": [
        { "type": "Running", "status": "False", "reason": "Queued", "message": "place 1 of 1" }] }),
    );
    write_status(&sandbox, "c", &running("50.00%"));
    let numbers = json!({ "metadata": { "annotations": {
        "decant.dev/sent-bytes": "4294967296", "decant.dev/total-bytes": "8589934592",
        "decant.dev/rate-bytes-per-second": "209715200", "decant.dev/left-secs": "21" } } });
    sandbox.cluster.patch(Kind::DataVolume, &sandbox.key("c"), Part::Whole, &numbers).unwrap();

    let output = plugin(&sandbox, &["status"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", output.out);
    assert!(lines[0].starts_with("NAME   PHASE"), "{}", output.out);
    assert!(lines[1].starts_with("c      CloneInProgress   [============>           ]  50.00 %  4.00 GiB of 8.00 GiB, 200.0 MiB/s, 21s left"), "{}", output.out);
    assert!(
        lines[2].starts_with("b      CloneScheduled") && lines[2].ends_with("Queued: place 1 of 1"),
        "{}",
        output.out
    );
    assert!(
        lines[3].starts_with("a      Succeeded         [========================] 100.00 %")
            && lines[3].ends_with("d ago"),
        "{}",
        output.out
    );
    assert!(!output.out.contains('\u{1b}'), "no colours in a pipe");

    let all = plugin(&sandbox, &["status", "-A", "--recent", "1000"]);
    // Clones of other tests decide how wide the columns are.
    let is_ours = |line: &str| line.split_whitespace().take(2).eq([sandbox.namespace.as_str(), "c"]);
    assert!(all.out.lines().any(is_ours), "{}", all.out);
    let one = plugin(&sandbox, &["status", "c", "-o", "json"]).json();
    assert_eq!((&one["clones"][0]["percent"], &one["clones"][0]["leftSecs"]), (&json!(50.0), &json!(21)));
    let yaml: Value = serde_saphyr::from_str(&plugin(&sandbox, &["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(yaml["clones"].as_array().unwrap().len(), 3);
}

#[test]
fn claims_without_a_data_volume_are_listed_and_found_by_name() {
    let sandbox = Sandbox::new();
    make_data_volume(&sandbox, "a");
    make_claim(&sandbox, "golden", &json!({}));
    for name in ["data-0", "data-1", "a"] {
        make_populated_claim(&sandbox, name, &json!({}));
    }
    write_population(&sandbox, "data-0", &populating("50.00%"), "Pending");
    write_population(&sandbox, "data-1", &json!({ "cdi.kubevirt.io/clonePhase": "Pending" }), "Pending");
    let output = plugin(&sandbox, &["status"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let lines: Vec<&str> = output.out.lines().collect();
    assert!(
        lines[1].starts_with("pvc/data-0   HostClone   [============>           ]  50.00 %"),
        "{}",
        output.out
    );
    let waits = |line: &&str| {
        line.starts_with("pvc/data-1") && line.contains("PendingPopulation: no pod uses PVC data-1 yet")
    };
    assert!(lines.iter().any(waits), "{}", output.out);
    assert!(!output.out.contains("golden"), "{}", output.out);
    for argument in ["data-0", "pvc/data-0"] {
        let one = plugin(&sandbox, &["status", argument, "-o", "json"]).json();
        assert_eq!(
            (&one["clones"][0]["kind"], &one["clones"][0]["percent"]),
            (&json!("PersistentVolumeClaim"), &json!(50.0))
        );
    }
    let kind =
        |argument| plugin(&sandbox, &["status", argument, "-o", "json"]).json()["clones"][0]["kind"].clone();
    assert_eq!((kind("a"), kind("pvc/a")), (json!("DataVolume"), json!("PersistentVolumeClaim")));
    let none = plugin(&sandbox, &["status", "pvc/golden"]);
    assert_eq!((none.code, none.err.as_str()), (1, "PVC golden is not a clone of a PVC\n"));
}

#[test]
fn following_a_claim_ends_with_its_clone() {
    let sandbox = Sandbox::new();
    make_populated_claim(&sandbox, "copy", &json!({}));
    let child = command(&sandbox, &["status", "copy", "--follow", "-o", "json"]).spawn().unwrap();
    wait_for_the_watch();
    write_population(&sandbox, "copy", &populating("10.00%"), "Pending");
    wait_for_the_watch();
    write_population(&sandbox, "copy", &populated(), "Bound");
    let output = end(child);
    assert_eq!(output.code, 0, "{}", output.err);
    let last: Value = serde_json::from_str(output.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["state"], &last["digest"]), (&json!("Succeeded"), &json!("sha256:00")));
    assert!(output.out.contains("\"Running\""), "{}", output.out);
}

#[test]
fn an_empty_list_and_an_unknown_name_are_reported() {
    let sandbox = Sandbox::new();
    let output = plugin(&sandbox, &["status"]);
    assert_eq!((output.code, output.out.as_str()), (0, ""));
    assert_eq!(output.err, format!("No clones found in {} namespace.\n", sandbox.namespace));
    for args in [&["status", "none"][..], &["status", "none", "--follow"]] {
        let output = plugin(&sandbox, args);
        assert_eq!(output.code, 3);
        assert_eq!(
            output.err,
            "Error from server (NotFound): datavolumes.cdi.kubevirt.io \"none\" not found\n"
        );
    }
}

#[test]
fn following_one_clone_ends_with_the_clone() {
    let sandbox = Sandbox::new();
    make_data_volume(&sandbox, "copy");
    let child = command(&sandbox, &["status", "copy", "--follow", "-o", "json"]).spawn().unwrap();
    wait_for_the_watch();
    write_status(&sandbox, "copy", &running("10.00%"));
    wait_for_the_watch();
    write_status(&sandbox, "copy", &succeeded());
    let output = end(child);
    assert_eq!(output.code, 0, "{}", output.err);
    let states: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone())
        .collect();
    assert_eq!(states, ["Waiting", "Running", "Succeeded"]);
}

#[test]
fn following_all_clones_shows_new_ones_and_ends_with_a_signal() {
    let sandbox = Sandbox::new();
    let child = command(&sandbox, &["status", "--follow"]).spawn().unwrap();
    wait_for_the_watch();
    make_data_volume(&sandbox, "copy");
    write_status(&sandbox, "copy", &running("10.00%"));
    wait_for_the_watch();
    interrupt(&child);
    let output = end(child);
    assert_eq!(output.code, 130, "{}", output.err);
    assert!(
        output.out.lines().any(|line| line.starts_with("copy   CloneInProgress   [==>")),
        "{}",
        output.out
    );
}

/// `script` gives a program a terminal.
#[test]
fn on_a_terminal_the_bar_is_redrawn_in_place_and_respects_no_color() {
    let sandbox = Sandbox::new();
    for (no_colour, colours) in [("", true), ("1", false)] {
        let name = format!("copy{no_colour}");
        make_data_volume(&sandbox, &name);
        let line = format!(
            "{} -n {} --kubeconfig {} status {name} --follow",
            program().display(),
            sandbox.namespace,
            kubeconfig().display()
        );
        let child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("NO_COLOR", no_colour)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is among what every Debian has");
        wait_for_the_watch();
        write_status(&sandbox, &name, &running("10.00%"));
        wait_for_the_watch();
        write_status(&sandbox, &name, &succeeded());
        let output = end(child);
        assert_eq!(output.code, 0, "{}", output.out);
        assert!(output.out.contains("\u{1b}[1A\u{1b}[J"), "the line was not drawn again: {:?}", output.out);
        assert_eq!(output.out.contains("\u{1b}[36m[==>"), colours, "{:?}", output.out);
        assert!(
            output.out.trim_end().ends_with(&format!("datavolume.cdi.kubevirt.io/{name} cloned")),
            "{:?}",
            output.out
        );
    }
}
