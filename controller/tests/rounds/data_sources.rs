//! The status of DataSources, from the objects of users to the status that KubeVirt reads.

use decant_controller::objects::{DataSource, Key, Kind};
use decant_controller::reconcile::data_sources::DataSourceReporter;
use serde_json::{Value, json};

use crate::*;

fn data_source(name: &str, source: &Value) -> (Kind, Value) {
    let object = json!({ "metadata": { "namespace": "n", "name": name }, "spec": { "source": source } });
    (Kind::DataSource, object)
}

fn report(controller: &TestController, reporter: &mut DataSourceReporter) {
    let stores = &controller.reconciler.observer.stores;
    refresh::<DataVolume>(&controller.stub, Kind::DataVolume, &stores.data_volumes);
    refresh::<Claim>(&controller.stub, Kind::PersistentVolumeClaim, &stores.claims);
    refresh::<DataSource>(&controller.stub, Kind::DataSource, &stores.data_sources);
    reporter.report(OffsetDateTime::now_utc());
}

fn status(controller: &TestController, name: &str) -> Value {
    controller.stub.find(Kind::DataSource, &Key::new("n", name)).unwrap()["status"].clone()
}

#[test]
fn a_chain_of_data_sources_leads_to_the_claim_and_becomes_ready_with_it() {
    let objects = vec![
        data_source("images", &json!({ "dataSource": { "name": "golden" } })),
        data_source("golden", &json!({ "pvc": { "name": "golden" } })),
        data_source("snapshot", &json!({ "snapshot": { "name": "s" } })),
    ];
    let controller = TestController::launch(objects, &[]);
    let stores = Arc::clone(&controller.reconciler.observer.stores);
    let mut reporter = DataSourceReporter::new(controller.stub.clone(), stores);
    report(&controller, &mut reporter);
    for name in ["images", "golden"] {
        let status = status(&controller, name);
        assert_eq!(
            (&status["conditions"][0]["type"], &status["conditions"][0]["status"]),
            (&json!("Ready"), &json!("False"))
        );
        assert_eq!(status["source"], json!({}), "{name}");
    }
    let of_snapshot = status(&controller, "snapshot");
    assert_eq!(of_snapshot["conditions"][0]["reason"], "NotFound", "{of_snapshot}");

    let (kind, golden) = source();
    controller.stub.put(kind, golden);
    report(&controller, &mut reporter);
    for name in ["images", "golden"] {
        let status = status(&controller, name);
        assert_eq!(status["conditions"][0]["status"], "True");
        assert_eq!(status["source"], json!({ "pvc": { "namespace": "n", "name": "golden" } }));
    }
    let before = controller.stub.all(Kind::DataSource);
    report(&controller, &mut reporter);
    assert_eq!(controller.stub.all(Kind::DataSource), before, "nothing changed, and nothing is written");
}

#[test]
fn a_data_source_of_a_snapshot_becomes_ready_with_it_and_is_read_rarely() {
    let objects = vec![
        data_source("images", &json!({ "dataSource": { "name": "golden" } })),
        data_source("golden", &json!({ "snapshot": { "name": "s" } })),
    ];
    let controller = TestController::launch(objects, &[]);
    let stores = Arc::clone(&controller.reconciler.observer.stores);
    let metadata = json!({ "namespace": "n", "name": "s" });
    let snapshot = json!({ "metadata": metadata, "status": { "readyToUse": true } });
    controller.stub.put(Kind::VolumeSnapshot, snapshot);
    let mut reporter = DataSourceReporter::new(controller.stub.clone(), stores);
    report(&controller, &mut reporter);
    for name in ["images", "golden"] {
        let status = status(&controller, name);
        assert_eq!(status["conditions"][0]["status"], "True");
        assert_eq!(status["source"], json!({ "snapshot": { "namespace": "n", "name": "s" } }));
    }
}
