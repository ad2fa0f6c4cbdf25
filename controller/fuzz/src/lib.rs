//! The cases of `controller/tests/any_json.rs`, for the fuzzer.
#![forbid(unsafe_code)]

use std::sync::Arc;

use decant_controller::token::key::TokenKey;
use decant_controller::webhook::callers::Caller;
use decant_controller::webhook::gate::{Gate, Question};
use decant_controller_test_support::{bytes, cluster, world};
use time::OffsetDateTime;

/// Changes in the objects of a clone, through whole rounds.
pub fn objects(data: &[u8]) {
    world::case(data);
}

/// Any JSON as each kind of object.
pub fn any_json(data: &[u8]) {
    world::raw(bytes::Bytes::new(data).json(12).to_string().as_bytes());
}

/// Any bytes as each kind of object.
pub fn raw_object(data: &[u8]) {
    world::raw(data);
}

/// Any bytes as a review, of callers that are known and of others.
pub fn review(data: &[u8]) {
    let gate = Gate {
        cluster: Arc::new(cluster::Empty),
        keys: Arc::new(TokenKey::new(&[7; 32])),
        own_user: "system:serviceaccount:decant-system:decant-controller".to_owned(),
        claim_adoption: data.first().is_some_and(|byte| byte % 2 == 0),
    };
    for question in [Question::Mutate, Question::Validate] {
        for caller in [Caller::Unknown, Caller::Proven] {
            if let Ok(answer) = gate.answer(question, data, caller, OffsetDateTime::UNIX_EPOCH) {
                assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{answer}");
            }
        }
    }
}
