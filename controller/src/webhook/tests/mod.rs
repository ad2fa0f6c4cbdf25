//! Tests of the decisions of both webhooks, on a cluster in memory.

mod anything;
mod rights;
mod tokens;
mod validation;

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::objects::annotations::TOKEN;
use crate::objects::{Key, Kind};
use crate::token::asker::Asker;
use crate::token::key::TokenKey;
use crate::webhook::callers::Caller;
use crate::webhook::gate::Gate;
use crate::webhook::review::{Verdict, parse};
use crate::webhook::stub::Stub;

const OWN: &str = "system:serviceaccount:decant:decant";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn key() -> TokenKey {
    TokenKey::new(&[5; 32])
}

fn gate(change: impl FnOnce(&mut Stub)) -> Gate {
    gate_and_stub(change).0
}

fn gate_and_stub(change: impl FnOnce(&mut Stub)) -> (Gate, Arc<Stub>) {
    let mut stub = Stub::default();
    for namespace in ["a", "b", "z"] {
        stub.put(Kind::Namespace, "", namespace, json!({}));
    }
    change(&mut stub);
    let stub = Arc::new(stub);
    let cluster = Arc::clone(&stub);
    let gate = Gate { cluster, keys: Arc::new(key()), own_user: OWN.to_owned(), claim_adoption: false };
    (gate, stub)
}

fn dv(source: &Value, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": "copy", "namespace": "b", "uid": "u-1", "annotations": annotations},
        "spec": {
            "source": source,
            "pvc": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
    })
}

fn golden() -> Value {
    json!({"pvc": {"namespace": "a", "name": "golden"}})
}

/// The review that the API server would send.
#[allow(clippy::needless_pass_by_value)] // Called with json!.
fn ask(user: &str, operation: &str, object: Value, old: Value) -> Vec<u8> {
    let request = json!({
        "uid": "1", "operation": operation, "namespace": "b", "userInfo": {"username": user},
        "object": object, "oldObject": old,
    });
    body(&request)
}

fn body(request: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
        .into_bytes()
}

fn mutated(gate: &Gate, review: &[u8]) -> Verdict {
    gate.mutate(&parse(review).unwrap(), Caller::Unknown, now())
}

fn create(gate: &Gate, object: Value) -> Verdict {
    mutated(gate, &ask("jane", "CREATE", object, Value::Null))
}

/// The value that a patch gives to the annotation `name`; `Some(None)` if the patch removes it.
fn patched(verdict: &Verdict, name: &str) -> Option<Option<String>> {
    let Verdict::Patched(operations) = verdict else { return None };
    let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
    let operation = operations.iter().find(|operation| operation.path == path)?;
    Some(operation.value.as_ref().map(|value| value.as_str().unwrap().to_owned()))
}

fn asker(name: &str) -> Asker {
    Asker { username: name.to_owned(), ..Asker::default() }
}

/// Whether the verdict gives a token for exactly this clone.
fn gives_token_for(verdict: &Verdict, source: &Key, target: &Key) -> bool {
    let token = patched(verdict, TOKEN).flatten().unwrap_or_default();
    key().check_short(&token, source, target, now()).is_ok()
}

fn message(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Denied(denial) => &denial.message,
        other => panic!("{other:?}"),
    }
}
