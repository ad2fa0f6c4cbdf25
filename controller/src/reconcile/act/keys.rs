//! Creates the keys of pods: the first generation with the pod, each next one when half of the life of the previous one
//! is over.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::cluster::ApiError;
use crate::objects::{Kind, Pod, Uid, names};
use crate::pods::identity::PodIdentity;
use crate::pods::keys::{Generation, generation_due};
use crate::pods::role::Role;
use crate::pods::secret;
use crate::reconcile::act::{Executor, created, impossible};
use crate::reconcile::observed::Observed;

/// The keys that this process gave to each pod.
#[derive(Debug, Default)]
pub(super) struct Keyed(HashMap<Uid, Given>);

#[derive(Debug)]
struct Given {
    generation: Generation,
    at: OffsetDateTime,
}

impl Keyed {
    fn has(&self, pod: &Uid, due: Generation) -> bool {
        self.0.get(pod).is_some_and(|given| given.generation >= due)
    }

    fn note(&mut self, pod: &Uid, generation: Generation, first_life: Duration, now: OffsetDateTime) {
        // Drops the pods that ended long ago. A pod that lives gets its next generation before this one expires.
        self.0.retain(|_, given| now - given.at < given.generation.life(first_life));
        self.0.insert(pod.clone(), Given { generation, at: now });
    }
}

/// Random digits for the name of a new pod's Secrets.
pub(super) fn nonce() -> Result<String, String> {
    let mut bytes = [0; names::NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Executor {
    /// Creates the Secret with the keys that are due, unless it exists. Secrets are never read, changed or replaced.
    pub(super) fn make_secret(
        &self,
        role: Role,
        pod: &Pod,
        seen: &Observed,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        if pod.is_direct() || pod.is_over(role.container()) || pod.metadata.is_deleting() {
            return Ok(());
        }
        let first_life = self.policy.now().pods.certificate_life;
        let due = generation_due(age(pod, now), first_life);
        if self.has_keys(pod, due) {
            return Ok(());
        }
        // The seal was checked when the pod was found. It is checked again here, because this is where keys are handed
        // out.
        let Some(identity) = PodIdentity::of(&pod.metadata, &self.seal) else {
            return Err(impossible(format!("pod {} does not belong to this clone", pod.metadata.key())));
        };
        if !seen.permission.as_ref().is_some_and(crate::reconcile::permission::check::Permission::is_given) {
            return Err(impossible(format!(
                "pod {} gets no new keys: the permission to clone was withdrawn",
                identity.pod
            )));
        }
        let pems = self.pems(role, &identity, due.life(first_life), now).map_err(impossible)?;
        let name = names::secret_generation(&identity.keys, due.0);
        let secret = secret::secret(role, &pod.metadata, &name, pems, &self.policy.now().pods);
        // An existing Secret was created by this controller before a restart, because its name is random.
        created(self.cluster.create(Kind::Secret, &secret))?;
        self.note(pod, due, now);
        Ok(())
    }

    fn has_keys(&self, pod: &Pod, due: Generation) -> bool {
        let keyed = self.keyed.lock().unwrap_or_else(PoisonError::into_inner);
        // An earlier process may have created the first keys: a pod does not run without them.
        let runs = pod.status.container_statuses.iter().any(|status| status.state.running.is_some());
        keyed.has(&pod.metadata.uid, due) || (due == Generation::FIRST && runs)
    }

    fn note(&self, pod: &Pod, generation: Generation, now: OffsetDateTime) {
        let mut keyed = self.keyed.lock().unwrap_or_else(PoisonError::into_inner);
        keyed.note(&pod.metadata.uid, generation, self.policy.now().pods.certificate_life, now);
    }

    /// Certificates that live for `life` and are valid only for this pod's role and clone.
    fn pems(
        &self,
        role: Role,
        identity: &PodIdentity,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Vec<secret::Pem>, String> {
        let pod = &identity.pod;
        match role {
            Role::Target => {
                let hosts = names::target_hosts(&pod.name, &pod.namespace, &identity.target_claim);
                let leaf = self.pki.server_leaf(&hosts, life, now)?;
                Ok(vec![
                    ("tls.key", leaf.key_pem),
                    ("tls.crt", leaf.chain_pem),
                    ("ca.crt", self.pki.client_bundle_pem()),
                ])
            }
            Role::Source => {
                let name = names::client(&identity.source_claim, &identity.target_claim);
                let leaf = self.pki.client_leaf(&name, life, now)?;
                let page = self.pki.server_leaf(&[names::metrics_host(&pod.name)], life, now)?;
                Ok(vec![
                    ("tls.key", leaf.key_pem),
                    ("tls.crt", leaf.chain_pem),
                    ("ca.crt", self.pki.server_bundle_pem()),
                    ("metrics.key", page.key_pem),
                    ("metrics.crt", page.chain_pem),
                ])
            }
        }
    }
}

/// The age of the pod. A creation time that cannot be parsed or is in the future counts as now.
fn age(pod: &Pod, now: OffsetDateTime) -> Duration {
    let made = OffsetDateTime::parse(&pod.metadata.creation_timestamp, &Rfc3339).unwrap_or(now);
    Duration::try_from(now - made).unwrap_or_default()
}
