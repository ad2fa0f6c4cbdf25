//! Checks that the API server calls Decant's webhook for each DataVolume. Only then is a short token in an annotation
//! known to come from the webhook. If callers of the webhook are not authenticated, every client that reaches it can
//! get a token signed; only the webhook, which removes tokens that users write, keeps such tokens out of DataVolumes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::cluster::Cluster;
use crate::certificates::pki;
use crate::objects::webhook_configuration::{
    MUTATE_PATH, MUTATING, SIGNER_SECRET, VALIDATE_PATH, VALIDATING,
};
use crate::objects::{Key, Kind, Meta, decode};

/// How long a result is valid, so that many DataVolumes that are created together cost one check. A user who can change
/// a webhook configuration can change anything, so noticing it some seconds late does no harm.
const LOOK_LIFE: Duration = Duration::from_secs(5);
/// The maximum difference between the clocks of API server and webhook.
const LEEWAY: time::Duration = time::Duration::seconds(10);
/// The only version of DataVolumes.
const VERSION: &str = "v1beta1";
/// The port of a Service when the configuration names none.
const SERVICE_PORT: u16 = 443;

/// Checks both webhook configurations, and caches the result for a short time.
pub struct Guarded {
    cluster: Arc<dyn Cluster>,
    /// The namespace of the Service and of the webhook's authority.
    namespace: String,
    service: String,
    last: Mutex<Option<(Instant, GuardState)>>,
}

/// Since when both configurations are correct, or what is wrong, as text for people.
type GuardState = Result<OffsetDateTime, String>;

impl Guarded {
    /// Expects configurations that lead to the Service `service` in `namespace`.
    pub fn new(cluster: Arc<dyn Cluster>, namespace: String, service: String) -> Self {
        Self { cluster, namespace, service, last: Mutex::default() }
    }

    /// Whether the webhook reviews all DataVolumes, and already did when a token was `written`. The error describes
    /// what has to be corrected.
    pub fn check(&self, written: OffsetDateTime) -> Result<(), String> {
        // Held during the check, so that concurrent callers wait for the same result.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let look = match &*last {
            Some((at, look)) if at.elapsed() < LOOK_LIFE => look.clone(),
            _ => {
                let look = self.look();
                *last = Some((Instant::now(), look.clone()));
                look
            }
        };
        drop(last);
        if look? > written + LEEWAY {
            return Err("its configurations are younger than the token".to_owned());
        }
        Ok(())
    }

    fn look(&self) -> GuardState {
        let bundle = pki::bundle(&*self.cluster, &self.namespace, SIGNER_SECRET)?;
        let mut since = OffsetDateTime::UNIX_EPOCH;
        for (kind, name, path) in [
            (Kind::MutatingWebhookConfiguration, MUTATING, MUTATE_PATH),
            (Kind::ValidatingWebhookConfiguration, VALIDATING, VALIDATE_PATH),
        ] {
            let failed = |why: &str| format!("{} {name} {why}", kind.name());
            let object = self.cluster.get(kind, &Key::new("", name)).map_err(|e| match e.is_not_found() {
                true => failed("does not exist"),
                false => failed(&format!("cannot be read: {e}")),
            })?;
            let configuration: Configuration =
                decode(object).map_err(|e| failed(&format!("cannot be understood: {e}")))?;
            let expected =
                Expected { namespace: &self.namespace, service: &self.service, path, bundle: &bundle };
            configuration.guards(&expected).map_err(|why| failed(&why))?;
            let made = OffsetDateTime::parse(&configuration.metadata.creation_timestamp, &Rfc3339)
                .map_err(|_| failed("does not say when it was made"))?;
            since = since.max(made);
        }
        Ok(since)
    }
}

/// The Service, path and authority that a webhook must have.
struct Expected<'e> {
    namespace: &'e str,
    service: &'e str,
    path: &'e str,
    bundle: &'e str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    metadata: Meta,
    webhooks: Vec<Hook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hook {
    client_config: ClientConfig,
    rules: Vec<Rule>,
    failure_policy: String,
    namespace_selector: Map<String, Value>,
    object_selector: Map<String, Value>,
    match_conditions: Vec<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientConfig {
    ca_bundle: String,
    service: Option<Service>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    namespace: String,
    name: String,
    path: String,
    port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    operations: Vec<String>,
    resources: Vec<String>,
    scope: Option<String>,
}

impl Configuration {
    /// Whether at least one of the webhooks is as required. The error is about the first webhook.
    fn guards(&self, expected: &Expected<'_>) -> Result<(), String> {
        let mut first = None;
        for hook in &self.webhooks {
            match hook.guards(expected) {
                Ok(()) => return Ok(()),
                Err(why) => first = first.or(Some(why)),
            }
        }
        Err(first.unwrap_or_else(|| "has no webhook".to_owned()))
    }
}

impl Hook {
    fn guards(&self, expected: &Expected<'_>) -> Result<(), String> {
        let Expected { namespace, service, path, bundle } = expected;
        let leads_here = self.client_config.service.as_ref().is_some_and(|found| {
            found.namespace == *namespace
                && found.name == *service
                && found.path == *path
                && found.port.unwrap_or(SERVICE_PORT) == SERVICE_PORT
        });
        if !leads_here {
            return Err(format!("does not lead to {path} of Service {namespace}/{service}"));
        }
        let trusted = BASE64_STANDARD.decode(&self.client_config.ca_bundle).unwrap_or_default();
        if trusted != bundle.as_bytes() {
            return Err(format!("does not carry the authority in Secret {namespace}/{SIGNER_SECRET}"));
        }
        if self.failure_policy != "Fail" {
            return Err("has another failurePolicy than Fail".to_owned());
        }
        if let Some(operation) = ["CREATE", "UPDATE"]
            .into_iter()
            .find(|operation| !self.rules.iter().any(|rule| rule.covers(operation)))
        {
            return Err(format!("has no rule for {operation} of datavolumes.cdi.kubevirt.io/{VERSION}"));
        }
        for (what, selects) in [
            ("a namespaceSelector", selects(&self.namespace_selector)),
            ("an objectSelector", selects(&self.object_selector)),
            ("matchConditions", !self.match_conditions.is_empty()),
        ] {
            if selects {
                return Err(format!("has {what}, so that some DataVolumes pass by"));
            }
        }
        Ok(())
    }
}

impl Rule {
    fn covers(&self, operation: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted || item == "*");
        has(&self.api_groups, "cdi.kubevirt.io")
            && has(&self.api_versions, VERSION)
            && has(&self.operations, operation)
            && (has(&self.resources, "datavolumes") || self.resources.iter().any(|item| item == "*/*"))
            && self.scope.as_deref().is_none_or(|scope| scope == "*" || scope == "Namespaced")
    }
}

/// Whether a selector excludes any object. Only a selector without conditions excludes none.
fn selects(selector: &Map<String, Value>) -> bool {
    let is_empty = |part: &Value| match part {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    !selector.values().all(is_empty)
}

#[cfg(test)]
mod tests;
