//! `kubectl decant status`.

use std::process::{Command, Stdio};

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use super::{a_moment, command, end, interrupt, make_data_volume, plugin, program, running, succeeded, tell};
use crate::ground::{Ground, kubeconfig};

#[test]
fn running_clones_come_first_with_bars_and_those_that_ended_after_them() {
    let ground = Ground::new();
    for name in ["a", "b", "c"] {
        make_data_volume(&ground, name);
    }
    tell(&ground, "a", &succeeded());
    tell(
        &ground,
        "b",
        &json!({ "phase": "CloneScheduled", "progress": "N/A", "conditions": [
        { "type": "Running", "status": "False", "reason": "Queued", "message": "place 1 of 1" }] }),
    );
    tell(&ground, "c", &running("50.00%"));
    let numbers = json!({ "metadata": { "annotations": {
        "decant.dev/sent-bytes": "4294967296", "decant.dev/total-bytes": "8589934592",
        "decant.dev/rate-bytes-per-second": "209715200", "decant.dev/left-secs": "21" } } });
    ground.cluster.patch(Kind::DataVolume, &ground.key("c"), Part::Whole, &numbers).unwrap();

    let said = plugin(&ground, &["status"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", said.out);
    assert!(lines[0].starts_with("NAME   PHASE"), "{}", said.out);
    assert!(lines[1].starts_with("c      CloneInProgress   [============>           ]  50.00 %  4.00 GiB of 8.00 GiB, 200.0 MiB/s, 21s left"), "{}", said.out);
    assert!(
        lines[2].starts_with("b      CloneScheduled") && lines[2].ends_with("Queued: place 1 of 1"),
        "{}",
        said.out
    );
    assert!(
        lines[3].starts_with("a      Succeeded         [========================] 100.00 %")
            && lines[3].ends_with("d ago"),
        "{}",
        said.out
    );
    assert!(!said.out.contains('\u{1b}'), "no colours in a pipe");

    let all = plugin(&ground, &["status", "-A", "--recent", "1000"]);
    assert!(
        all.out.lines().any(|line| line.starts_with(&format!("{}   c ", ground.namespace))),
        "{}",
        all.out
    );
    let one = plugin(&ground, &["status", "c", "-o", "json"]).json();
    assert_eq!((&one["clones"][0]["percent"], &one["clones"][0]["leftSecs"]), (&json!(50.0), &json!(21)));
    let yaml: Value = serde_saphyr::from_str(&plugin(&ground, &["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(yaml["clones"].as_array().unwrap().len(), 3);
}

#[test]
fn an_empty_list_and_an_unknown_name_are_reported() {
    let ground = Ground::new();
    let said = plugin(&ground, &["status"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(said.err, format!("No clones found in {} namespace.\n", ground.namespace));
    for args in [&["status", "none"][..], &["status", "none", "--follow"]] {
        let said = plugin(&ground, args);
        assert_eq!(said.code, 3);
        assert_eq!(
            said.err,
            "Error from server (NotFound): datavolumes.cdi.kubevirt.io \"none\" not found\n"
        );
    }
}

#[test]
fn following_one_clone_ends_with_it() {
    let ground = Ground::new();
    make_data_volume(&ground, "copy");
    let child = command(&ground, &["status", "copy", "--follow", "-o", "json"]).spawn().unwrap();
    a_moment();
    tell(&ground, "copy", &running("10.00%"));
    a_moment();
    tell(&ground, "copy", &succeeded());
    let said = end(child);
    assert_eq!(said.code, 0, "{}", said.err);
    let states: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone()).collect();
    assert_eq!(states, ["Waiting", "Running", "Succeeded"]);
}

#[test]
fn following_all_clones_shows_new_ones_and_ends_with_a_signal() {
    let ground = Ground::new();
    let child = command(&ground, &["status", "--follow"]).spawn().unwrap();
    a_moment();
    make_data_volume(&ground, "copy");
    tell(&ground, "copy", &running("10.00%"));
    a_moment();
    interrupt(&child);
    let said = end(child);
    assert_eq!(said.code, 130, "{}", said.err);
    assert!(said.out.lines().any(|line| line.starts_with("copy   CloneInProgress   [==>")), "{}", said.out);
}

/// `script` gives a program a terminal.
#[test]
fn on_a_terminal_the_bar_stays_in_its_place_and_has_a_colour_unless_that_is_unwanted() {
    let ground = Ground::new();
    for (no_colour, colours) in [("", true), ("1", false)] {
        let name = format!("copy{no_colour}");
        make_data_volume(&ground, &name);
        let line = format!(
            "{} -n {} --kubeconfig {} status {name} --follow",
            program().display(),
            ground.namespace,
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
        a_moment();
        tell(&ground, &name, &running("10.00%"));
        a_moment();
        tell(&ground, &name, &succeeded());
        let said = end(child);
        assert_eq!(said.code, 0, "{}", said.out);
        assert!(said.out.contains("\u{1b}[1A\u{1b}[J"), "the line was not drawn again: {:?}", said.out);
        assert_eq!(said.out.contains("\u{1b}[36m[==>"), colours, "{:?}", said.out);
        assert!(
            said.out.trim_end().ends_with(&format!("datavolume.cdi.kubevirt.io/{name} cloned")),
            "{:?}",
            said.out
        );
    }
}
