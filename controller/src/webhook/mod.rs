//! The admission webhook: refuses DataVolumes that make no sense, and writes down who may clone from another
//! namespace (contract 4.3, 4.4).
//!
//! * `review` is what the API server sends and gets;
//! * `mutate` gives and guards tokens, `authorize` asks whether a user may have one;
//! * `validate` refuses;
//! * `serve` is the server, `identity` its certificate, `configuration` makes the API server trust it.

mod authorize;
mod configuration;
mod identity;
mod mutate;
mod review;
mod serve;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::token::TokenKey;

pub use configuration::{MUTATING, VALIDATING};
pub(crate) use identity::SIGNER_SECRET;
pub use identity::identity_of;
pub use serve::{IdentityProvider, Settings, Webhook, WebhookIdentity};

/// Where the API server asks for changes.
pub const MUTATE_PATH: &str = "/datavolume-mutate";
/// Where the API server asks for objections.
pub const VALIDATE_PATH: &str = "/datavolume-validate";

/// What both webhooks decide with.
pub(crate) struct Gate {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) keys: Arc<TokenKey>,
    /// The controller's own user, which alone may write tokens.
    pub(crate) own_user: String,
    /// Whether claims may be adopted without the annotation.
    pub(crate) claim_adoption: bool,
}
