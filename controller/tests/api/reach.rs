//! Servers that cannot be reached, and kubeconfigs that cannot be used.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::Cluster;
use decant_controller::objects::{Key, Kind};
use decant_test_support::net::Closed;

use crate::relay::Relay;

fn kubeconfig_for(port: u16) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: \
         https://127.0.0.1:{port}\n    insecure-skip-tls-verify: true\ncontexts:\n- name: c\n  context:\n    \
         cluster: c\n    user: u\nusers:\n- name: u\n  user:\n    token: t\n"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_closed_port_of_the_api_server_is_reported_immediately() {
    let closed = Closed::new();
    let cluster = KubeCluster::connect(Some(kubeconfig_for(closed.port()).path())).unwrap();
    let error = cluster.get(Kind::Pod, &Key::new("n", "a")).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "NoAnswer"));
    assert!(error.is_temporary() && error.message.contains("refused"), "{error:?}");
}

#[test]
fn a_silent_api_server_times_out_after_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cluster = KubeCluster::connect(Some(kubeconfig_for(port).path())).unwrap();
    let asked = Instant::now();
    let error = cluster.get(Kind::Pod, &Key::new("n", "a")).unwrap_err();
    assert_eq!(error.code, 0);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn a_lease_call_times_out_after_four_seconds() {
    let relay = Relay::start();
    let cluster = KubeCluster::connect(Some(&relay.kubeconfig)).unwrap();
    assert!(cluster.get(Kind::Lease, &Key::new("default", "none")).unwrap_err().is_not_found());
    relay.fall_silent();
    let asked = Instant::now();
    let error = cluster.get(Kind::Lease, &Key::new("default", "none")).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "Timeout"));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn the_message_about_a_missing_kubeconfig_names_it() {
    let error = KubeCluster::connect(Some(Path::new("/no/such/file"))).err().unwrap();
    assert!(error.contains("/no/such/file") && error.contains("No such file"), "{error}");
}

#[test]
fn the_client_thread_ends_with_its_last_user() {
    let relay = Relay::start();
    let cluster = KubeCluster::connect(Some(&relay.kubeconfig)).unwrap();
    let _ = cluster.get(Kind::Pod, &Key::new("default", "none"));
    let dropped = Instant::now();
    drop(cluster);
    assert!(dropped.elapsed() < Duration::from_secs(10));
}
