//! Certificates that end, and what takes their place.

use std::time::{Duration, Instant};

use decant_controller::certificates::signer::Signer;
use serde_json::json;
use time::OffsetDateTime;

use crate::breaks::running_at;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::{kubectl, try_kubectl};
use crate::processes::Process;

/// Longer than the kubelet needs to show a new Secret to a pod.
const SECRET_UPDATE_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_source_restarted_after_its_certificate_expired_uses_the_renewed_one() {
    let begun = Instant::now();
    let (env, noise) = running_at("1MiB/s", &["--certificate-secs", "30"], 0);
    let claim = |name: &str| env.get("pvc", name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let (source_claim, target_claim) = (claim("golden"), claim("copy"));
    let target = Process::with("CLIENT_NAME", &format!("decant:{source_claim}:{target_claim}"));
    let source_pod = format!("{target_claim}-source-pod");
    let owner = env.get("dv", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source = Process::with("OWNER_UID", &owner);
    source.sees("/etc/metrics-tls/renewed/1/metrics.key", SECRET_UPDATE_MAX);
    target.sees("/etc/tls/renewed/1/ca.crt", SECRET_UPDATE_MAX);
    // The first certificates end 30 s after the pods were made.
    std::thread::sleep(Duration::from_secs(35).saturating_sub(begun.elapsed()));
    // The kubelet starts it again in the same pod: the certificate in its environment has expired.
    source.signal("-KILL");
    env.wait("pod", &source_pod, |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        container["restartCount"].as_u64() >= Some(1) && container["state"]["running"].is_object()
    });
    env.wait_for_success("copy");
    let (_, log) = try_kubectl(&["-n", &env.namespace, "logs", &source_pod], None);
    assert!(!log.contains("expired"), "{log}");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}

#[test]
fn an_authority_past_half_of_its_life_is_renewed_at_startup() {
    let mut env = TestEnv::new(&[]);
    let name = "cdi-uploadserver-signer";
    let old = Signer::new("old", OffsetDateTime::now_utc() - time::Duration::days(200)).unwrap();
    env.apply(&json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                       "metadata": { "name": name, "namespace": env.namespace }, "data": old.data() }));
    let before = env.get("secret", name).unwrap()["data"]["tls.crt"].clone();
    env.start();
    env.wait("secret", name, |secret| secret["data"]["tls.crt"] != before);
    let bundle = kubectl(
        &[
            "-n",
            &env.namespace,
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
