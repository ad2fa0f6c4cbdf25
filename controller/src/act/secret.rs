//! Keys of pods: given when a pod is new, renewed at half of their life.

use std::sync::PoisonError;

use serde_json::json;
use time::OffsetDateTime;

use super::{Hands, impossible, made};
use crate::cluster::{ApiError, Part};
use crate::decide::Role;
use crate::names;
use crate::observed::Observed;
use crate::pods;
use crate::resource::{Kind, Pod};

impl Hands {
    /// Gives a pod its keys, and new ones at half of their life. Secrets are never read: one that is there already is
    /// overwritten, whoever made it.
    pub(super) fn make_secret(
        &self,
        role: Role,
        pod: &Pod,
        seen: &Observed,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        if pod.has_ended() || pod.metadata.is_deleting() || !self.is_due(pod, now) {
            return Ok(());
        }
        let pems = self.pems(role, pod, seen, now).map_err(impossible)?;
        let secret = pods::secret(role, &pod.metadata, pems, &self.policy.pods);
        let key = pod.metadata.key();
        if made(self.cluster.create(Kind::Secret, &secret))?.is_none() {
            let patch = json!({
                "metadata": { "ownerReferences": secret["metadata"]["ownerReferences"] },
                "stringData": secret["stringData"],
            });
            self.cluster.patch(Kind::Secret, &key, Part::Whole, &patch)?;
        }
        let mut keyed = self.keyed.lock().unwrap_or_else(PoisonError::into_inner);
        // Pods that ended long ago need no place here.
        let life = self.policy.pods.certificate_life;
        keyed.retain(|_, at| now - *at < life);
        keyed.insert(pod.metadata.uid.clone(), now);
        Ok(())
    }

    fn is_due(&self, pod: &Pod, now: OffsetDateTime) -> bool {
        use time::format_description::well_known::Rfc3339;
        let keyed = self.keyed.lock().unwrap_or_else(PoisonError::into_inner);
        let half = self.policy.pods.certificate_life / 2;
        match keyed.get(&pod.metadata.uid) {
            Some(at) => now - *at >= half,
            None => {
                // Another process made it: a pod that runs has keys, and they are as old as the pod at most.
                let runs = pod.status.container_statuses.iter().any(|status| status.state.running.is_some());
                let made = OffsetDateTime::parse(&pod.metadata.creation_timestamp, &Rfc3339);
                !runs || made.is_ok_and(|made| now - made >= half)
            }
        }
    }

    fn pems(
        &self,
        role: Role,
        pod: &Pod,
        seen: &Observed,
        now: OffsetDateTime,
    ) -> Result<Vec<pods::Pem>, String> {
        match role {
            Role::Target => {
                let hosts = names::target_hosts(&pod.metadata.name, &pod.metadata.namespace);
                let leaf = self.pki.server_leaf(&hosts, now)?;
                Ok(vec![
                    ("tls.key", leaf.key_pem),
                    ("tls.crt", leaf.chain_pem),
                    ("ca.crt", self.pki.client_bundle_pem()),
                ])
            }
            Role::Source => {
                let (Some(source), Some(target)) = (seen.source_key(), &seen.target) else {
                    return Err("the clone has no source any more".to_owned());
                };
                let leaf = self.pki.client_leaf(&names::client(source, &target.metadata.key()), now)?;
                let page = self.pki.server_leaf(&[names::metrics_host(&pod.metadata.name)], now)?;
                Ok(vec![
                    ("tls.key", leaf.key_pem),
                    ("tls.crt", leaf.chain_pem),
                    ("metrics.key", page.key_pem),
                    ("metrics.crt", page.chain_pem),
                ])
            }
        }
    }
}
