//! Watches, as the API server sends them.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{Cluster, Part, Watch, WatchEvent};
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use crate::relay::Relay;
use crate::sandbox::{Sandbox, uid};

const PATIENCE: Duration = Duration::from_secs(60);

fn watch_secrets(sandbox: &Sandbox, cluster: &KubeCluster) -> Box<dyn Watch> {
    let version = sandbox.cluster.list(Kind::Secret, &sandbox.labelled()).unwrap().resource_version;
    cluster.watch(Kind::Secret, &sandbox.labelled(), &version).unwrap()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[test]
fn a_watch_reports_added_changed_and_deleted_objects() {
    let sandbox = Sandbox::new();
    let mut watch = watch_secrets(&sandbox, &sandbox.cluster);
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap().value();
    let patch = json!({ "metadata": { "annotations": { "x": "1" } } });
    sandbox.cluster.patch(Kind::Secret, &sandbox.key("a"), Part::Whole, &patch).unwrap();
    sandbox.cluster.delete(Kind::Secret, &sandbox.key("a"), &uid(&made), None).unwrap();
    let mut next = || watch.next(PATIENCE).unwrap().unwrap();
    assert!(matches!(next(), WatchEvent::Applied(object) if name(&object.value()) == "a"));
    assert!(
        matches!(next(), WatchEvent::Applied(object) if object.value()["metadata"]["annotations"]["x"] == "1")
    );
    assert!(matches!(next(), WatchEvent::Deleted(object) if name(&object.value()) == "a"));
}

#[test]
fn a_silent_watch_does_not_end() {
    let sandbox = Sandbox::new();
    let mut watch = watch_secrets(&sandbox, &sandbox.cluster);
    let asked = Instant::now();
    assert!(matches!(watch.next(Duration::from_millis(300)), Ok(None)));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap();
    assert!(matches!(watch.next(PATIENCE), Ok(Some(WatchEvent::Applied(_)))));
}

#[test]
fn a_silent_watch_gets_bookmarks() {
    let sandbox = Sandbox::new();
    let mut watch = watch_secrets(&sandbox, &sandbox.cluster);
    // The API server sends one about each minute.
    let event = watch.next(Duration::from_secs(80)).unwrap();
    let Some(WatchEvent::Bookmark(version)) = event else { panic!("{event:?}") };
    assert!(version.parse::<u64>().is_ok(), "{version:?}");
}

#[test]
fn a_cut_watch_ends_with_an_error() {
    let (sandbox, relay) = (Sandbox::new(), Relay::start());
    let cluster = KubeCluster::connect(Some(&relay.kubeconfig)).unwrap();
    let mut watch = watch_secrets(&sandbox, &cluster);
    relay.cut();
    let error = watch.next(PATIENCE).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "EndOfWatch"));
}

#[test]
fn many_threads_can_call_while_many_watches_wait() {
    let sandbox = Sandbox::new();
    let begun = Barrier::new(8 + 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut watch = watch_secrets(&sandbox, &sandbox.cluster);
                begun.wait();
                let mut seen = 0;
                while seen < 40 {
                    let event = watch.next(PATIENCE).unwrap();
                    assert!(event.is_some(), "silence after {seen} events");
                    seen += usize::from(matches!(event, Some(WatchEvent::Applied(_))));
                }
            });
        }
        // What is made before a watch begins is not in it.
        begun.wait();
        for thread in 0..4 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for number in 0..10 {
                    let secret = sandbox.secret(&format!("s{thread}-{number}"));
                    sandbox.cluster.create(Kind::Secret, &secret).unwrap();
                }
            });
        }
    });
}
