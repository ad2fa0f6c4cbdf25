//! The certificate of the webhook, signed by an authority in a Secret, so that the API server trusts all replicas.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::api::cluster::Cluster;
use crate::certificates::pki;
use crate::certificates::signer::Usage;
use crate::objects::webhook_configuration::SIGNER_SECRET;
use crate::webhook::serve::{IdentityProvider, WebhookIdentity};

/// Renewed after half of this time.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

struct Issued {
    identity: WebhookIdentity,
    at: OffsetDateTime,
    authority: String,
}

/// Provides a certificate for `service` in `namespace`: the same one until half of its lifetime, or until the authority
/// changes.
pub fn identity_of(cluster: Arc<dyn Cluster>, namespace: String, service: String) -> IdentityProvider {
    let last: Mutex<Option<Issued>> = Mutex::new(None);
    Box::new(move || {
        let now = OffsetDateTime::now_utc();
        let signer = pki::load(&*cluster, &namespace, SIGNER_SECRET, now)?;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issued) = last.as_ref()
            && issued.authority == signer.id()
            && now - issued.at < LIFE / 2
        {
            return Ok(issued.identity.clone());
        }
        let names = [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}"), service.clone()];
        let leaf = signer.issue(&names[0], &names, Usage::Server, LIFE, now)?;
        let identity = WebhookIdentity {
            chain_pem: leaf.chain_pem,
            key_pem: leaf.key_pem,
            ca_pem: signer.bundle_pem.clone(),
        };
        *last = Some(Issued { identity: identity.clone(), at: now, authority: signer.id() });
        Ok(identity)
    })
}
