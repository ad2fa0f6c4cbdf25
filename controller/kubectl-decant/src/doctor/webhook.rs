//! The admission webhook: its two configurations, the certificate authority in them, and whether it answers.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::doctor::{Check, Installation};
use decant_controller::api::cluster::{ApiError, Cluster};
use decant_controller::certificates::signer::Signer;
use decant_controller::objects::webhook_configuration::{MUTATING, SIGNER_SECRET, VALIDATING};
use decant_controller::objects::{Key, Kind, Object, Readable, decode};

const ABOUT: &str = "admission webhook";
const HELP: &str =
    "install it again with `kubectl apply -k controller/deploy/webhook`, and see the controller's logs";

/// Whether at least one of the configurations exists.
pub(super) fn is_installed(installation: &Installation<'_>) -> bool {
    configurations(installation).iter().any(|(_, answer)| answer.is_ok())
}

fn configurations(installation: &Installation<'_>) -> [(&'static str, Result<Object, ApiError>); 2] {
    [(Kind::MutatingWebhookConfiguration, MUTATING), (Kind::ValidatingWebhookConfiguration, VALIDATING)]
        .map(|(kind, name)| (name, installation.session.cluster.get(kind, &Key::new("", name))))
}

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    let answers = configurations(installation);
    if answers.iter().all(|(_, answer)| answer.as_ref().is_err_and(ApiError::is_not_found)) {
        let found = "not installed: clones across namespaces need the consent of the source's owner";
        return vec![Check::note(ABOUT, found)];
    }
    let signer =
        installation.session.cluster.get(Kind::Secret, &Key::new(installation.namespace, SIGNER_SECRET));
    let bundle = signer.ok().and_then(|secret| Signer::of(&secret).ok()).map(|signer| signer.bundle_pem);
    let mut checks: Vec<Check> = answers
        .into_iter()
        .map(|(name, answer)| {
            let about = format!("webhook configuration {name}");
            match answer {
                Ok(object) => configuration(about, &object, bundle.as_deref()),
                Err(e) if e.is_not_found() => Check::fail(about, "not found, but the other one exists", HELP),
                Err(e) => Check::unreadable(about, &e),
            }
        })
        .collect();
    checks.push(check_answer(installation));
    checks
}

/// The fields of a configuration that are used.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    webhooks: Vec<Registered>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Registered {
    client_config: ClientConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientConfig {
    ca_bundle: String,
}

/// Checks that the API server trusts the authority that signs the webhook's certificate.
fn configuration(about: String, object: &impl Readable, bundle: Option<&str>) -> Check {
    let webhooks = match decode::<Configuration>(object) {
        Ok(configuration) => configuration.webhooks,
        Err(e) => return Check::fail(about, format!("it cannot be read: {e}"), HELP),
    };
    if webhooks.is_empty() {
        return Check::fail(about, "it names no webhook", HELP);
    }
    let authority = |webhook: &Registered| {
        BASE64_STANDARD.decode(&webhook.client_config.ca_bundle).ok().filter(|bytes| !bytes.is_empty())
    };
    for webhook in &webhooks {
        match (authority(webhook), bundle) {
            (None, _) => {
                return Check::fail(
                    about,
                    "it has no certificate authority: the API server does not trust the webhook",
                    HELP,
                );
            }
            (Some(authority), Some(bundle)) if authority != bundle.as_bytes() => {
                return Check::fail(about, "its certificate authority is not the current one", HELP);
            }
            _ => {}
        }
    }
    Check::ok(
        about,
        if bundle.is_some() {
            "has the current certificate authority"
        } else {
            "has a certificate authority"
        },
    )
}

/// Sends a DataVolume that the webhook has to refuse, as a dry run.
fn check_answer(installation: &Installation<'_>) -> Check {
    let namespace = &installation.session.namespace;
    let object = json!({
        "apiVersion": Kind::DataVolume.api_version(),
        "kind": Kind::DataVolume.name(),
        "metadata": { "namespace": namespace, "name": "decant-doctor" },
        "spec": {
            "source": { "pvc": { "namespace": namespace, "name": "decant-doctor" } },
            "pvc": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1" } } },
        },
    });
    answer(installation.session.cluster.dry_run(Kind::DataVolume, &object).map(drop))
}

fn answer(answer: Result<(), ApiError>) -> Check {
    match answer {
        Ok(()) => Check::fail(ABOUT, "the API server does not call it for DataVolumes", HELP),
        Err(e) if e.message.contains("admission webhook") && e.message.contains("denied") => {
            Check::ok(ABOUT, "it answers")
        }
        Err(e) if e.message.contains("calling webhook") || e.message.contains("call webhook") => {
            Check::fail(ABOUT, format!("no answer, so no DataVolume can be created: {}", e.message), HELP)
        }
        Err(e) if e.is_not_found() => Check::note(ABOUT, format!("cannot be checked: {}", e.message)),
        Err(e) => Check::unreadable(ABOUT, &e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn the_authority_has_to_be_the_current_one() {
        let object = |bundle: &str| json!({ "webhooks": [{ "clientConfig": { "caBundle": bundle } }] });
        let state = |bundle: &str, signs| configuration(String::new(), &object(bundle), signs).state;
        assert_eq!(state("QQ==", Some("A")), State::Ok);
        assert_eq!(state("QQ==", None), State::Ok);
        assert_eq!(state("QQ==", Some("B")), State::Fail);
        assert_eq!(state("", Some("A")), State::Fail);
        assert_eq!(configuration(String::new(), &json!({}), None).state, State::Fail);
    }

    #[test]
    fn only_a_denial_of_the_webhook_shows_that_it_answers() {
        let error =
            |code, message: &str| Err(ApiError { code, reason: String::new(), message: message.to_owned() });
        let denied =
            "admission webhook \"datavolume-validate.cdi.kubevirt.io\" denied the request: too small";
        assert_eq!(answer(error(422, denied)).state, State::Ok);
        assert_eq!(answer(error(500, "failed calling webhook \"x\": connection refused")).state, State::Fail);
        assert_eq!(answer(error(403, "User \"joe\" cannot create")).state, State::Note);
        assert_eq!(answer(Ok(())).state, State::Fail);
    }
}
