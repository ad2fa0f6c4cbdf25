//! Which callers are answered.

use std::path::PathBuf;

use decant_controller::certificates::signer::{Leaf, Signer, Usage};
use decant_controller::objects::webhook_configuration::MUTATE_PATH;
use decant_controller::webhook::callers::Callers;
use decant_test_support::until;
use time::OffsetDateTime;

use crate::server::{Running, leaf, review, stranger};

struct Files {
    directory: tempfile::TempDir,
    authority: Signer,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: Signer::new("front", OffsetDateTime::now_utc()).unwrap(),
        };
        files.write(&files.authority);
        files
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    fn write(&self, authority: &Signer) {
        std::fs::write(self.path(), &authority.bundle_pem).unwrap();
    }

    fn callers(&self, names: &[&str]) -> Option<Callers> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(Callers { authorities: self.path(), names })
    }
}

fn answers(webhook: &Running, caller: &Leaf) -> bool {
    let said = webhook.post(caller, MUTATE_PATH, &review("{}"));
    assert!(
        said.as_ref().is_err()
            || said.as_ref().is_ok_and(|text| text.is_empty() || text.starts_with("HTTP/1.1 200")),
        "{said:?}"
    );
    said.is_ok_and(|text| !text.is_empty())
}

#[test]
fn without_a_caller_authority_every_caller_is_answered() {
    assert!(answers(&Running::start(None), &stranger()));
}

#[test]
fn with_a_caller_authority_only_its_callers_are_answered() {
    let files = Files::new();
    let webhook = Running::start(files.callers(&[]));
    assert!(answers(&webhook, &leaf(&files.authority, "kube-apiserver", Usage::Client)));
    assert!(!answers(&webhook, &stranger()), "a certificate of another authority");
    assert!(!answers(&webhook, &leaf(&files.authority, "kube-apiserver", Usage::Server)), "one of a server");
    let plain = ureq::Agent::config_builder()
        .tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build())
        .build()
        .new_agent();
    let said = plain.post(format!("https://{}{MUTATE_PATH}", webhook.address)).send(&review("{}")[..]);
    assert!(said.is_err(), "no certificate at all: {said:?}");
}

#[test]
fn only_the_caller_with_the_configured_name_is_answered() {
    let files = Files::new();
    let webhook = Running::start(files.callers(&["kube-apiserver", "other"]));
    assert!(answers(&webhook, &leaf(&files.authority, "kube-apiserver", Usage::Client)));
    for name in ["kubelet", "kube-apiserver ", "KUBE-APISERVER"] {
        assert!(!answers(&webhook, &leaf(&files.authority, name, Usage::Client)), "{name:?}");
    }
}

#[test]
fn a_new_caller_authority_takes_effect_without_a_restart() {
    let files = Files::new();
    let webhook = Running::start(files.callers(&[]));
    let next = Signer::new("next", OffsetDateTime::now_utc()).unwrap();
    let caller = leaf(&next, "kube-apiserver", Usage::Client);
    assert!(!answers(&webhook, &caller));
    files.write(&next);
    until("the new authority is known", || answers(&webhook, &caller));
    assert!(
        !answers(&webhook, &leaf(&files.authority, "kube-apiserver", Usage::Client)),
        "the old one still is"
    );
}

#[test]
fn an_unreadable_caller_authority_is_named_at_startup() {
    let callers = Callers { authorities: PathBuf::from("/nowhere/ca.crt"), names: Vec::new() };
    let why = std::panic::catch_unwind(|| Running::start(Some(callers))).map(drop).unwrap_err();
    let why = why.downcast_ref::<String>().unwrap();
    assert!(why.contains("/nowhere/ca.crt"), "{why}");
}
