//! The status page as a browser sees it, and as large as it may become.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use decant_controller::api::client::KubeCluster;
use decant_controller::api::counted::Counted;
use decant_controller::objects::{Claim, DataVolume};
use decant_controller::pages::health::HealthState;
use decant_controller::pages::server;
use decant_controller::pages::status::{Overview, render};
use decant_controller::summary::pick::{pick, pick_with_claims};
use decant_shared::process::stop::Stop;
use decant_test_support::net::Closed;
use serde_json::{Value, json};

/// Of any number of DataVolumes, with the longest texts that a cluster can hold.
const PAGE_MAX_BYTES: usize = 512 << 10;
const PICTURE_MAX_BYTES: u64 = 100 << 10;
/// Text that a browser could interpret as HTML.
const HOSTILE: &str = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\">&amp;'";

fn data_volume(key: (&str, &str), source: (&str, &str), status: &Value, annotations: &Value) -> DataVolume {
    serde_json::from_value(json!({
        "metadata": { "namespace": key.0, "name": key.1, "annotations": annotations },
        "spec": { "source": { "pvc": { "namespace": source.0, "name": source.1 } } },
        "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, at: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at })
}

fn running(name: &str, percent: &str, numbers: [u64; 4]) -> DataVolume {
    let [sent, total, rate, left] = numbers.map(|number| number.to_string());
    let status = json!({ "phase": "CloneInProgress", "progress": percent,
                         "conditions": [condition("Running", "True", "Pod is running", "", "")] });
    let annotations = json!({ "decant.dev/sent-bytes": sent, "decant.dev/total-bytes": total,
                              "decant.dev/rate-bytes-per-second": rate, "decant.dev/left-secs": left });
    data_volume(("shop", name), ("images", "debian-12"), &status, &annotations)
}

fn waiting(name: &str, phase: &str, reason: &str, message: &str) -> DataVolume {
    let conditions = [condition("Running", "False", reason, message, "")];
    let status = json!({ "phase": phase, "progress": "N/A", "conditions": conditions });
    data_volume(("shop", name), ("images", "debian-12"), &status, &json!({}))
}

fn ended(name: &str, phase: &str, at: &str) -> DataVolume {
    let bound = if phase == "Failed" {
        condition("Bound", "False", "ClaimLost", "Claim Lost", at)
    } else {
        json!({})
    };
    let status = json!({ "phase": phase, "progress": if phase == "Failed" { "41.00%" } else { "100.0%" },
                         "conditions": [bound, condition("Ready", "True", "", "", at)] });
    let annotations = json!({ "decant.dev/total-bytes": (8_u64 << 30).to_string() });
    data_volume(("shop", name), ("images", "debian-12"), &status, &annotations)
}

/// A busy controller.
fn sample() -> Overview {
    let clones = [
        running("web-1", "83.10%", [7_137_700_000, 8 << 30, 214_958_080, 6]),
        running("db", "4.07%", [1_748_000_000, 40 << 30, 198_180_864, 207]),
        waiting("web-3", "CloneScheduled", "Queued", "place 1 of 1 in the queue: 2 clones run (limit 2)"),
        ended("web-0", "Succeeded", "2026-01-01T11:58:12Z"),
        ended("cache", "Failed", "2026-01-01T11:41:40Z"),
    ];
    Overview { clones: Some(pick(&clones, 100, 20)), now: "2026-01-01T12:00:00Z".to_owned() }
}

#[test]
fn a_claim_without_a_data_volume_has_its_row() {
    let claim: Claim = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "data-0", "annotations": {
            "cdi.kubevirt.io/clonePhase": "HostClone", "cdi.kubevirt.io/storage.populator.progress": "41.00%",
            "cdi.kubevirt.io/storage.condition.running": "true",
            "cdi.kubevirt.io/storage.condition.source.running": "true",
        } },
        "spec": { "dataSourceRef": { "apiGroup": "decant.dev", "kind": "CloneSource", "name": "golden" } },
    }))
    .unwrap();
    let picked = pick_with_claims::<DataVolume, Claim>(&[], &[claim], 100, 20);
    let html = render(&Overview { clones: Some(picked), now: String::new() });
    for text in ["1 running, 0 waiting", "pvc/data-0", "from CloneSource shop/golden", "HostClone", "41.00 %"]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
}

#[test]
fn the_page_for_ten_thousand_data_volumes_has_bounded_size() {
    let long = HOSTILE.repeat(12);
    let all: Vec<DataVolume> = (0..10_000)
        .map(|number| {
            let key = format!("{number}{long}");
            let (phase, at) =
                if number % 2 == 0 { ("CloneScheduled", "") } else { ("Succeeded", long.as_str()) };
            let conditions =
                [condition("Running", "False", &long, &long, at), condition("Ready", "False", "", "", at)];
            let status = json!({ "phase": phase, "progress": "12.34%", "conditions": conditions });
            data_volume((&long, &key), (&long, &long), &status, &json!({}))
        })
        .collect();
    let html = render(&Overview { clones: Some(pick(&all, 100, 20)), now: long });
    assert!(html.len() < PAGE_MAX_BYTES, "{} bytes", html.len());
    assert!(html.contains("4900 more"), "nobody is told about the others");
    assert!(!html.contains("<script") && !html.contains("<img"));
}

#[test]
fn the_page_loads_no_other_resource_and_names_states_in_text() {
    let html = render(&sample());
    for foreign in ["<script", "http://", "https://", "src=", "href=", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for word in [
        "running",
        "waiting",
        "failed",
        "succeeded",
        "83.10 %",
        "prefers-color-scheme: dark",
        "http-equiv=\"refresh\"",
    ] {
        assert!(html.contains(word), "{word}");
    }
}

/// A board of a controller that does not act yet, at an API server that is not there.
fn board() -> Arc<HealthState> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:9'}\n\
                contexts:\n- name: c\n  context: {cluster: c, user: u}\nusers:\n- name: u\n  user: {token: t}\n";
    file.write_all(text.as_bytes()).unwrap();
    let cluster = KubeCluster::connect(Some(file.path())).unwrap();
    Arc::new(HealthState::new(Arc::new(Counted::new(cluster)), None))
}

#[test]
fn the_page_is_served_only_if_enabled() {
    let stop = Stop::new();
    for (wanted, status) in [(false, 404), (true, 200)] {
        let port = Closed::new();
        let address = port.address();
        let server = server::serve(address, &board(), wanted, &stop).unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("http://{address}/status")).call().unwrap();
        assert_eq!(answer.status(), status);
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(text.contains("This replica is a standby"), wanted, "{text}");
        assert_eq!(agent.post(format!("http://{address}/status")).send("x").unwrap().status(), 405);
        server.shut_down(Duration::from_secs(1));
    }
}

/// Chromium without a window; `None` where there is none, except in CI.
fn chromium(args: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", directory.path().display()))
        .args(args)
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "chromium is not installed: {e}");
            None
        }
    }
}

fn address_of(file: &Path) -> String {
    format!("file://{}", file.display())
}

#[test]
fn a_browser_shows_hostile_names_as_text() {
    let status = json!({ "phase": HOSTILE, "progress": "12.34%",
                         "conditions": [condition("Running", "False", HOSTILE, HOSTILE, "")] });
    let clones = [data_volume((HOSTILE, HOSTILE), (HOSTILE, HOSTILE), &status, &json!({}))];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page.html");
    let overview = Overview { clones: Some(pick(&clones, 10, 10)), now: HOSTILE.to_owned() };
    std::fs::write(&file, render(&overview)).unwrap();
    let Some(dom) = chromium(&["--dump-dom", &address_of(&file)]) else { return };
    assert!(dom.contains("<title>0 running, 1 waiting - Decant</title>"), "{dom}");
    assert!(!dom.contains("<img") && !dom.contains("<script"), "{dom}");
    assert!(dom.contains("&lt;script&gt;document.title='x'&lt;/script&gt;"), "{dom}");
    assert!(dom.contains("<progress max=\"100\" value=\"12.34\">"), "{dom}");
}

#[test]
fn a_browser_loads_the_page_from_the_controllers_server() {
    let (stop, port) = (Stop::new(), Closed::new());
    let address = port.address();
    let server = server::serve(address, &board(), true, &stop).unwrap();
    let dom = chromium(&["--dump-dom", &format!("http://{address}/status")]);
    server.shut_down(Duration::from_secs(1));
    if let Some(dom) = dom {
        assert!(dom.contains("<h1>Clones</h1>") && dom.contains("This replica is a standby"), "{dom}");
    }
}

/// `scripts/screenshot.sh` names a file for the picture in DECANT_SCREENSHOT.
#[test]
fn a_screenshot_is_small_and_follows_the_colour_scheme() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page.html");
    std::fs::write(&file, render(&sample())).unwrap();
    let picture = |scheme: &str| {
        let to = directory.path().join(format!("{scheme}.png"));
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let to_flag = format!("--screenshot={}", to.display());
        chromium(&["--window-size=1040,650", &scheme, &to_flag, &address_of(&file)]).map(|_| to)
    };
    let (Some(dark), Some(light)) = (picture("0"), picture("1")) else { return };
    let bytes = std::fs::read(&light).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    assert_ne!(bytes, std::fs::read(&dark).unwrap(), "both schemes look alike");
    assert!(std::fs::metadata(&light).unwrap().len() < PICTURE_MAX_BYTES);
    if let Some(wanted) = std::env::var_os("DECANT_SCREENSHOT") {
        std::fs::copy(light, wanted).unwrap();
    }
}
