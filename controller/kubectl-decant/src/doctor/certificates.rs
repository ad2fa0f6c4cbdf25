//! The certificate authorities of the pods and of the webhook, and the key of clone tokens.

use time::OffsetDateTime;

use crate::doctor::{Check, Installation};
use decant_controller::api::cluster::Cluster;
use decant_controller::certificates::pki::{CLIENT_SECRET, SERVER_SECRET};
use decant_controller::certificates::signer::Signer;
use decant_controller::objects::{Key, Kind, webhook_configuration};
use decant_controller::token::key::KEY_SECRET;

/// The controller checks every ten minutes: an authority that is overdue for a day is not being renewed.
const LATE: time::Duration = time::Duration::days(1);

pub(super) fn check(installation: &Installation<'_>, has_webhook: bool) -> Vec<Check> {
    let mut names = vec![SERVER_SECRET, CLIENT_SECRET];
    if has_webhook {
        names.push(webhook_configuration::SIGNER_SECRET);
    }
    let mut checks: Vec<Check> = names.into_iter().map(|name| authority(installation, name)).collect();
    checks.push(token_key(installation));
    checks
}

fn authority(installation: &Installation<'_>, name: &str) -> Check {
    let key = Key::new(installation.namespace, name);
    let about = format!("certificate authority {key}");
    match installation.session.cluster.get(Kind::Secret, &key) {
        Ok(secret) => judge(about, &key, Signer::of(&secret).as_ref(), OffsetDateTime::now_utc()),
        Err(e) if e.is_not_found() => missing(about),
        Err(e) => Check::unreadable(about, &e),
    }
}

fn missing(about: String) -> Check {
    Check::fail(about, "not found", "the controller creates it when it becomes the leader: see its logs")
}

fn judge(about: String, key: &Key, signer: Result<&Signer, &String>, now: OffsetDateTime) -> Check {
    let replace = format!(
        "delete it; the controller creates a new one within ten minutes: `kubectl -n {} delete secret {}`",
        key.namespace, key.name
    );
    let signer = match signer {
        Ok(signer) => signer,
        Err(e) => return Check::fail(about, format!("unusable: {e}"), replace),
    };
    let until = signer.not_after().date();
    if signer.not_after() <= now {
        return Check::fail(about, format!("expired on {until}"), replace);
    }
    if signer.is_due(now - LATE) {
        let found = format!("overdue for renewal; expires on {until}");
        return Check::fail(about, found, "no controller renews it: see the logs of the controller");
    }
    let days = (signer.not_after() - now).whole_days();
    Check::ok(about, format!("expires on {until}, in {days} days; renewed before that"))
}

fn token_key(installation: &Installation<'_>) -> Check {
    let about = format!("key of clone tokens {}/{KEY_SECRET}", installation.namespace);
    match installation.session.cluster.get(Kind::Secret, &Key::new(installation.namespace, KEY_SECRET)) {
        Ok(_) => Check::ok(about, "found"),
        Err(e) if e.is_not_found() => missing(about),
        Err(e) => Check::unreadable(about, &e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn state(age_days: i64) -> State {
        let now = OffsetDateTime::now_utc();
        let signer = Signer::new("test", now - time::Duration::days(age_days)).unwrap();
        judge(String::new(), &Key::new("n", "s"), Ok(&signer), now).state
    }

    #[test]
    fn an_authority_is_good_while_it_is_renewed_in_time() {
        assert_eq!(
            [state(1), state(180), state(190), state(400)],
            [State::Ok, State::Ok, State::Fail, State::Fail]
        );
    }

    #[test]
    fn an_unusable_secret_is_named_with_what_to_do() {
        let check = judge(
            String::new(),
            &Key::new("n", "s"),
            Err(&"tls.crt is missing".to_owned()),
            OffsetDateTime::now_utc(),
        );
        assert!(
            check.found.contains("tls.crt is missing") && check.help.contains("-n n delete secret s"),
            "{check:?}"
        );
    }
}
