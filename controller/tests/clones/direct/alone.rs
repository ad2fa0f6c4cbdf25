//! Networks that deny all traffic. They need the whole cluster: its CNI enforces no policies, so rules on the node's bridge do,
//! for all pods.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::MIB;
use crate::content::assert_content;
use crate::direct::AUTO;
use crate::environment::TestEnv;
use crate::progress::{KubectlWatch, MetricsBlock, percentages};

/// The bridge of `scripts/cluster.sh`.
const BRIDGE: &str = "decant0";
/// What pods send to each other and elsewhere, and connections that they open to the node. What the node opens to its pods
/// is not denied: Kubernetes requires that of every policy.
const RULES: [&[&str]; 3] = [
    &["FORWARD", "-i", BRIDGE],
    &["FORWARD", "-o", BRIDGE],
    &["INPUT", "-i", BRIDGE, "-m", "conntrack", "--ctstate", "NEW"],
];

/// The rules of [`RULES`], until the end of the test.
struct DeniedTraffic;

impl DeniedTraffic {
    fn start() -> Self {
        // If one fails, the drop removes the others.
        let denied = Self;
        for rule in RULES {
            assert!(Self::change("-I", rule), "iptables -I {rule:?}");
        }
        denied
    }

    fn change(what: &str, rule: &[&str]) -> bool {
        // `scripts/cluster.sh down` removes rules with such a comment, should this process be killed.
        let comment = ["-m", "comment", "--comment", "CNI-of-a-test-denies-all", "-j", "DROP"];
        Command::new("iptables").args(["-w", what]).args(rule).args(comment).status().unwrap().success()
    }
}

impl Drop for DeniedTraffic {
    fn drop(&mut self) {
        for rule in RULES {
            Self::change("-D", rule);
        }
    }
}

#[test]
fn where_all_traffic_is_denied_one_pod_clones_and_shows_progress_and_two_pods_do_not_connect() {
    let mut env = TestEnv::new(&AUTO);
    env.volumes("block", "128Mi", 3);
    env.claim("golden", "Block", "128Mi");
    let noise = env.fill("golden", 100 * MIB);
    env.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "deny-all" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
    }));
    // The controller is on the node here. Elsewhere, no policy lets it in.
    let user = 55_000 + std::process::id() % 1000;
    let deaf = MetricsBlock::start(user);
    let denied = DeniedTraffic::start();
    env.annotated_data_volume("one", ("Block", "128Mi"), &json!({ "decant.dev/bandwidth-limit": "10MiB/s" }));
    let screen = KubectlWatch::of(&env, "one");
    env.start_as(user);
    env.wait_for_success("one");
    let rows = screen.until("Succeeded");
    assert!(
        percentages(&rows).iter().filter(|percent| (1.0..100.0).contains(*percent)).count() > 1,
        "{rows:?}"
    );
    assert_content(&env, "one", &noise);

    let network = json!({ "decant.dev/transfer": "network" });
    env.annotated_data_volume("two", ("Block", "128Mi"), &network);
    env.wait("dv", "two", |dv| dv["status"]["phase"] == "CloneInProgress");
    // Without a limit, and with a connection, it would take two or three seconds.
    std::thread::sleep(Duration::from_secs(20));
    let dv = env.get("dv", "two").unwrap();
    assert_eq!(dv["status"]["phase"], "CloneInProgress", "{dv}");
    let progress = dv["status"]["progress"].as_str().unwrap();
    assert!(["N/A", "0.00%"].contains(&progress), "{dv}");
    drop(denied);
    env.wait_for_success("two");
    assert_content(&env, "two", &noise);
    drop(deaf);
}
