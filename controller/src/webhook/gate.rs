//! The decisions of both webhooks.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::api::cluster::Cluster;
use crate::token::key::TokenKey;
use crate::webhook::callers::Caller;
use crate::webhook::review;

/// Which of the two webhooks is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Changes the object.
    Mutate,
    /// Accepts or denies the object.
    Validate,
}

/// Decides both webhooks.
pub struct Gate {
    /// For permissions, claims and DataSources.
    pub cluster: Arc<dyn Cluster>,
    /// Signs tokens.
    pub keys: Arc<TokenKey>,
    /// The user of the controller: only it may write tokens.
    pub own_user: String,
    /// Whether claims may be adopted without the annotation.
    pub claim_adoption: bool,
}

impl Gate {
    /// The response to `body`, an `AdmissionReview`, at the time `now`. The error is the reason why `body` is not a
    /// review.
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
