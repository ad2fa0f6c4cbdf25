//! Certificates that end, and what takes their place.

use std::time::{Duration, Instant};

use decant_controller::certificates::signer::Signer;
use serde_json::json;
use time::OffsetDateTime;

use crate::bed::Bed;
use crate::breaks::running_at;
use crate::content::holds;
use crate::kubectl::{kubectl, try_kubectl};
use crate::processes::Process;

/// Longer than the kubelet needs to show a new Secret to a pod.
const SHOWN: Duration = Duration::from_secs(60);

#[test]
fn a_clone_whose_source_begins_again_after_its_certificate_ended_uses_the_renewed_one() {
    let begun = Instant::now();
    let (bed, noise) = running_at("1MiB/s", &["--certificate-secs", "30"], 0);
    let claim = |name: &str| bed.get("pvc", name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let (source_claim, target_claim) = (claim("golden"), claim("copy"));
    let target = Process::with("CLIENT_NAME", &format!("decant:{source_claim}:{target_claim}"));
    let source_pod = format!("{target_claim}-source-pod");
    let owner = bed.get("dv", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source = Process::with("OWNER_UID", &owner);
    source.sees("/etc/metrics-tls/renewed/1/metrics.key", SHOWN);
    target.sees("/etc/tls/renewed/1/ca.crt", SHOWN);
    // The first certificates end 30 s after the pods were made.
    std::thread::sleep(Duration::from_secs(35).saturating_sub(begun.elapsed()));
    // The kubelet starts it again in the same pod: what stands in its environment ended before.
    source.signal("-KILL");
    bed.wait("pod", &source_pod, |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        container["restartCount"].as_u64() >= Some(1) && container["state"]["running"].is_object()
    });
    bed.succeeds("copy");
    let (_, log) = try_kubectl(&["-n", &bed.namespace, "logs", &source_pod], None);
    assert!(!log.contains("expired"), "{log}");
    holds(&bed, "copy", &noise);
    bed.is_tidy("copy");
}

#[test]
fn an_authority_past_half_of_its_life_gets_a_successor_at_the_start() {
    let mut bed = Bed::new(&[]);
    let name = "cdi-uploadserver-signer";
    let old = Signer::new("old", OffsetDateTime::now_utc() - time::Duration::days(200)).unwrap();
    bed.apply(&json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                       "metadata": { "name": name, "namespace": bed.namespace }, "data": old.data() }));
    let before = bed.get("secret", name).unwrap()["data"]["tls.crt"].clone();
    bed.start();
    bed.wait("secret", name, |secret| secret["data"]["tls.crt"] != before);
    let bundle = kubectl(
        &[
            "-n",
            &bed.namespace,
            "get",
            "secret",
            name,
            "-o",
            r#"go-template={{index .data "ca-bundle.crt" | base64decode}}"#,
        ],
        None,
    );
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2, "the old one stays trusted: {bundle}");
}
