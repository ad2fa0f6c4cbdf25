//! Makes the API server trust the certificate of the webhook. The installation contains the configurations; the
//! controller only adds its certificate authority.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::api::cluster::{Cluster, Part};
use crate::objects::webhook_configuration::{MUTATING, VALIDATING};
use crate::objects::{Key, Kind};

/// Writes `ca_pem` into both configurations if it is not there yet. A missing configuration is not created: without the
/// webhook, clones across namespaces need the owner's consent. Returns the number of changed configurations; the error
/// names the first one that could not be changed.
pub(super) fn trust(cluster: &dyn Cluster, ca_pem: &str) -> Result<usize, String> {
    let bundle = BASE64_STANDARD.encode(ca_pem);
    let mut written = 0;
    for (kind, name) in
        [(Kind::MutatingWebhookConfiguration, MUTATING), (Kind::ValidatingWebhookConfiguration, VALIDATING)]
    {
        let key = Key::new("", name);
        let configuration = match cluster.get(kind, &key) {
            Err(error) if error.is_not_found() => continue,
            answer => answer.map_err(|e| format!("cannot read {} {name}: {e}", kind.name()))?,
        };
        if let Some(patch) = with_bundle(&configuration.value(), &bundle) {
            cluster
                .patch(kind, &key, Part::Whole, &patch)
                .map_err(|e| format!("cannot write the authority into {} {name}: {e}", kind.name()))?;
            written += 1;
        }
    }
    Ok(written)
}

/// A merge patch replaces whole lists, so it contains all webhooks and the version of the configuration.
fn with_bundle(configuration: &Value, bundle: &str) -> Option<Value> {
    let mut webhooks = configuration.get("webhooks")?.as_array()?.clone();
    let mut differs = false;
    for webhook in &mut webhooks {
        let client = webhook.get_mut("clientConfig")?.as_object_mut()?;
        differs |= client.insert("caBundle".to_owned(), json!(bundle)) != Some(json!(bundle));
    }
    let version = configuration.pointer("/metadata/resourceVersion");
    differs.then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bundle_changes() {
        let before = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [{"name": "x", "timeoutSeconds": 30, "clientConfig": {"service": {"name": "s"}}}],
        });
        let patch = with_bundle(&before, "QQ==").unwrap();
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "7"},
                "webhooks": [{
                    "name": "x", "timeoutSeconds": 30,
                    "clientConfig": {"service": {"name": "s"}, "caBundle": "QQ=="},
                }],
            })
        );
        assert_eq!(with_bundle(&patch, "QQ=="), None);
        assert!(with_bundle(&patch, "Qg==").is_some());
    }

    #[test]
    fn a_configuration_without_webhooks_is_left_alone() {
        assert_eq!(with_bundle(&json!({}), "QQ=="), None);
        assert_eq!(with_bundle(&json!({"webhooks": []}), "QQ=="), None);
    }
}
