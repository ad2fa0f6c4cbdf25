//! What both webhooks decide, on a cluster in memory.

mod rights;
mod tokens;
mod validation;

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Gate;
use super::review::{Request, UserInfo, Verdict};
use super::stub::Stub;
use crate::annotations::TOKEN;
use crate::resource::{Key, Kind};
use crate::token::TokenKey;

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

fn ask(user: &str, operation: &str, object: Value, old: Value) -> Request {
    Request {
        uid: "1".to_owned(),
        operation: operation.to_owned(),
        namespace: "b".to_owned(),
        user_info: UserInfo { username: user.to_owned(), ..UserInfo::default() },
        object,
        old_object: old,
    }
}

fn create(gate: &Gate, object: Value) -> Verdict {
    gate.mutate(&ask("jane", "CREATE", object, Value::Null), now())
}

/// The value that a patch gives the annotation `name`; `Some(None)` when it removes it.
fn patched(verdict: &Verdict, name: &str) -> Option<Option<String>> {
    let Verdict::Patched(operations) = verdict else { return None };
    let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
    let operation = operations.iter().find(|operation| operation["path"] == path)?;
    Some(operation.get("value").map(|value| value.as_str().unwrap().to_owned()))
}

/// Whether the verdict gives a token for exactly this clone.
fn gives_token_for(verdict: &Verdict, source: &Key, target: &Key) -> bool {
    let token = patched(verdict, TOKEN).flatten().unwrap_or_default();
    key().check_short(&token, source, target, now()) == Ok(())
}

fn message(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Denied(denial) => &denial.message,
        other => panic!("{other:?}"),
    }
}
