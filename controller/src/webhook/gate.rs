//! What both webhooks decide with.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::api::cluster::Cluster;
use crate::token::key::TokenKey;
use crate::webhook::callers::Caller;
use crate::webhook::review;

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
