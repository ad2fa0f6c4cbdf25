//! What needs the whole cluster for itself.

use std::time::Duration;

use serde_json::Value;

use crate::bed::Bed;
use crate::content::holds;
use crate::kubectl::{kubectl, script};
use crate::{MIB, SLOW};

#[test]
fn a_clone_waits_for_its_source_and_for_consent() {
    let mut bed = Bed::open(&[]);
    let mut owner = Bed::open(&[]);
    bed.volumes("filesystem", "64Mi", 1);
    owner.volumes("filesystem", "64Mi", 1);
    bed.start();
    bed.data_volume("copy", (&owner.namespace, "golden"), "Filesystem", "64Mi");
    let before = bed.says("copy", "Bound", "CloneNotAllowed");
    owner.claim("golden", "Filesystem", "64Mi");
    let noise = owner.fill("golden", MIB);
    let message = bed.says("copy", "Bound", "CloneNotAllowed");
    assert_eq!(message, before, "it tells whether there is a source");
    assert!(message.contains("decant.dev/allow-clone-to"), "{message}");
    assert!(bed.get("pvc", "copy").is_none(), "a claim was made without permission");
    let consent = format!("decant.dev/allow-clone-to={}", bed.namespace);
    kubectl(&["-n", &owner.namespace, "annotate", "pvc", "golden", &consent], None);
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
}

#[test]
fn an_api_server_that_restarts_in_mid_clone_only_delays_what_is_said() {
    let mut bed = Bed::open(&SLOW);
    bed.volumes("block", "64Mi", 2);
    bed.claim("golden", "Block", "64Mi");
    let noise = bed.fill("golden", 60 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "64Mi");
    bed.copies("copy");
    script(&["restart-api", "5"]);
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
    bed.is_tidy("copy");
}

#[test]
fn fifty_at_once_all_succeed() {
    const CLONES: usize = 50;
    let mut bed = Bed::open(&[]);
    bed.volumes("block", "8Mi", 1 + CLONES);
    bed.claim("golden", "Block", "8Mi");
    let noise = bed.fill("golden", 2 * MIB);
    bed.start();
    let names: Vec<String> = (0..CLONES).map(|number| format!("copy-{number}")).collect();
    for name in &names {
        bed.data_volume(name, (&bed.namespace, "golden"), "Block", "8Mi");
    }
    for _ in 0..300 {
        let text = kubectl(&["-n", &bed.namespace, "get", "dv", "-o", "json"], None);
        let list: Value = serde_json::from_str(&text).unwrap();
        let phases = list["items"].as_array().unwrap().iter().map(|dv| &dv["status"]["phase"]);
        if phases.filter(|phase| *phase == "Succeeded").count() == CLONES {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for name in &names {
        bed.succeeds(name);
        holds(&bed, name, &noise);
    }
}
