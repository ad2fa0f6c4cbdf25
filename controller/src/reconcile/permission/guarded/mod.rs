//! Whether the API server calls Decant's webhook for each DataVolume. Only then did the webhook write the short token that is in
//! an annotation: where callers of the webhook prove nothing, every client that reaches it gets tokens signed, and only the
//! webhook itself, which removes what users write, keeps these tokens out of DataVolumes.

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

/// How long an answer is valid. Many DataVolumes that are created together cost one check. A user who changes a configuration may
/// change anything, so a delay of some seconds reveals nothing.
const LOOK_LIFE: Duration = Duration::from_secs(5);
/// How far the clocks of API server and webhook may be apart.
const LEEWAY: time::Duration = time::Duration::seconds(10);
/// The one version of DataVolumes.
const VERSION: &str = "v1beta1";
/// The port of a Service when the configuration names none.
const SERVICE_PORT: u16 = 443;

/// Checks both webhook configurations, and keeps the result for a moment.
pub struct Guarded {
    cluster: Arc<dyn Cluster>,
    /// Where the Service and the webhook's authority are.
    namespace: String,
    service: String,
    last: Mutex<Option<(Instant, Look)>>,
}

/// Since when both are right, or what is wrong, as text for people.
type Look = Result<OffsetDateTime, String>;

impl Guarded {
    /// Looks for configurations that lead to the Service `service` in `namespace`.
    pub fn new(cluster: Arc<dyn Cluster>, namespace: String, service: String) -> Self {
        Self { cluster, namespace, service, last: Mutex::default() }
    }

    /// Whether all DataVolumes pass through Decant's webhook, and did when a token was `written`. The error describes what has to
    /// be corrected.
    pub fn check(&self, written: OffsetDateTime) -> Result<(), String> {
        // Held while it looks: others that want to know wait for the same answer.
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

    fn look(&self) -> Look {
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

/// Where a webhook has to lead.
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
    /// One of the webhooks has to be as it must be; the error is about the first of them.
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

/// Whether a selector leaves anything out: only one without a condition does not.
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
