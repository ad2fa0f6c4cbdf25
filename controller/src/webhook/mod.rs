//! The admission webhook: refuses DataVolumes that make no sense, and writes down who may clone from another
//! namespace (contract 4.3, 4.4).
//!
//! * `review` is what the API server sends and gets, `excerpt` what is repeated of it;
//! * `mutate` gives and guards tokens, `authorize` asks whether a user may have one;
//! * `validate` refuses, `spec` compares;
//! * `serve` is the server, `places` bounds its memory, `callers` says who is answered, `identity` is its certificate,
//!   `configuration` makes the API server trust it.

mod authorize;
mod callers;
mod configuration;
mod excerpt;
mod identity;
mod mutate;
mod places;
mod review;
mod serve;
mod spec;
mod strict;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use time::OffsetDateTime;

use crate::cluster::Cluster;
use crate::token::TokenKey;

pub use callers::{Caller, Callers};
pub use configuration::{MUTATING, VALIDATING};
pub(crate) use identity::SIGNER_SECRET;
pub use identity::identity_of;
pub use serve::{IdentityProvider, Settings, Webhook, WebhookIdentity};

/// Where the API server asks for changes.
pub const MUTATE_PATH: &str = "/datavolume-mutate";
/// Where the API server asks for objections.
pub const VALIDATE_PATH: &str = "/datavolume-validate";

/// Which of the two webhooks is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What has to be changed.
    Mutate,
    /// What speaks against it.
    Validate,
}

/// What both webhooks decide with.
pub struct Gate {
    /// Where permissions, claims and DataSources are asked for.
    pub cluster: Arc<dyn Cluster>,
    /// What tokens are written with.
    pub keys: Arc<TokenKey>,
    /// The controller's own user, which alone may write tokens.
    pub own_user: String,
    /// Whether claims may be adopted without the annotation.
    pub claim_adoption: bool,
}

impl Gate {
    /// The answer to `body`, which should be an `AdmissionReview`, at the time `now`: the body to be sent back. The error
    /// says for people why it is not a review.
    pub fn answer(
        &self,
        question: Question,
        body: &[u8],
        caller: Caller,
        now: OffsetDateTime,
    ) -> Result<String, String> {
        let request = review::parse(body)?;
        let verdict = match question {
            Question::Mutate => self.mutate(&request, caller, now),
            Question::Validate => self.validate(&request),
        };
        Ok(review::answer(&request.uid, &verdict))
    }
}
