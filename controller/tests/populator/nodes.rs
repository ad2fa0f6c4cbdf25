//! A node that fails during a clone: its pods are deleted, and stay until Kubernetes gives up the node.

use decant_controller::objects::{Key, Kind};
use serde_json::Value;

use crate::scenarios::{ACROSS, Asker, Scenario, assert_complete, target};
use decant_controller_test_support::kubernetes::{OTHER_NODE, key};
use decant_controller_test_support::running_cluster::RunningCluster;

const BY_DATA_VOLUME: Scenario = Scenario { asker: Asker::DataVolume, ..ACROSS };

fn pod(world: &RunningCluster, container: &str) -> Option<Value> {
    let pods = world.kubernetes.all(Kind::Pod);
    pods.into_iter().find(|pod| pod["spec"]["containers"][0]["name"] == container)
}

fn source(world: &RunningCluster) -> Option<Value> {
    pod(world, "cdi-clone-source")
}

fn target_pod(world: &RunningCluster) -> Option<Value> {
    pod(world, "cdi-upload-server")
}

/// A clone whose pods both run, on a node that then fails. Kubernetes has deleted `lost`.
fn failed(scenario: Scenario, lost: impl Fn(&RunningCluster) -> Option<Value>) -> RunningCluster {
    let mut world = scenario.world();
    world.kubernetes.lock().is_copying_slow = true;
    scenario.run(&mut world);
    assert!(source(&world).is_some() && target_pod(&world).is_some(), "both pods run");
    let lost = key(&lost(&world).unwrap());
    let mut state = world.kubernetes.lock();
    state.is_node_failed = true;
    state.delete(Kind::Pod, &lost);
    drop(state);
    world
}

fn message(world: &RunningCluster) -> String {
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_source_pod_on_a_failed_node_is_replaced_on_another_node_and_the_clone_completes() {
    for scenario in [ACROSS, BY_DATA_VOLUME] {
        let mut world = failed(scenario, source);
        let lost = source(&world).unwrap();
        let is_replaced = |world: &RunningCluster| {
            source(world).is_some_and(|pod| pod["metadata"]["uid"] != lost["metadata"]["uid"])
        };
        world.settle();
        assert!(is_replaced(&world), "{:?}", source(&world));
        assert_eq!(source(&world).unwrap()["spec"]["nodeName"], OTHER_NODE);
        // The target pod is on the failed node as well, but was not deleted; its node returns.
        let mut state = world.kubernetes.lock();
        state.is_node_failed = false;
        state.is_copying_slow = false;
        drop(state);
        world.settle();
        assert_complete(scenario, &world, "after the node returned");
    }
}

#[test]
fn a_target_pod_on_a_failed_node_is_never_forced_away_and_the_message_names_node_and_remedy() {
    for scenario in [ACROSS, BY_DATA_VOLUME] {
        let mut world = failed(scenario, target_pod);
        let lost = target_pod(&world).unwrap();
        world.settle();
        assert_eq!(
            target_pod(&world).unwrap()["metadata"]["uid"],
            lost["metadata"]["uid"],
            "it may still write"
        );
        let text = message(&world);
        for word in ["node1 does not answer", "out-of-service", "delete its Node object"] {
            assert!(text.contains(word), "{text}");
        }
        let events = world.kubernetes.all(Kind::Event);
        assert!(events.iter().any(|event| event["reason"] == "NodeNotResponding"), "{events:?}");
    }
}

#[test]
fn when_kubernetes_gives_up_the_node_the_clone_resumes_on_another_node() {
    for scenario in [ACROSS, BY_DATA_VOLUME] {
        let mut world = failed(scenario, target_pod);
        world.settle();
        let [lost_target, lost_source] = [target_pod(&world), source(&world)].map(|pod| key(&pod.unwrap()));
        let mut state = world.kubernetes.lock();
        for pod in [&lost_target, &lost_source] {
            give_up(&mut state, pod);
        }
        state.is_copying_slow = false;
        drop(state);
        world.settle();
        assert_complete(scenario, &world, "after the pods of the node were removed");
    }
}

/// Kubernetes removes a pod whose node is gone.
fn give_up(state: &mut decant_controller_test_support::kubernetes::State, pod: &Key) {
    state.delete(Kind::Pod, pod);
    state.force(pod);
}
