//! What a token is written for, what it grants, and why it grants nothing.

use std::fmt;

use time::OffsetDateTime;

use crate::objects::{Key, Uid};
use crate::token::asker::Asker;

/// Why a token is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not a token of ours by its form.
    Malformed,
    /// Not written with our key.
    Forged,
    /// A short token where a long one is needed, or the other way round.
    OtherKind,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// For cloning from somewhere else.
    OtherSource,
    /// For cloning to somewhere else.
    OtherTarget,
    /// For another object of that name.
    OtherUid,
    /// From a version that did not write down who asked.
    WithoutAsker,
}

/// What a token is written for.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'g> {
    /// What may be cloned.
    pub source: &'g Key,
    /// Which one of that name; `None` when there is none yet.
    pub source_uid: Option<&'g Uid>,
    /// To where.
    pub target: &'g Key,
    /// Who asked.
    pub asker: &'g Asker,
}

/// What a token says besides the names that it was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Who asked.
    pub asker: Asker,
    /// Which source, if it was there when the token was written.
    pub source_uid: Option<Uid>,
    /// When the token was written; of a long token, a day before that.
    pub written: OffsetDateTime,
    /// Whether the webhook that wrote a short token knew that it was the API server that asked.
    pub caller_is_proven: bool,
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenRefusal::Malformed => "it is not a token",
            TokenRefusal::Forged => "it was not written by this controller",
            TokenRefusal::OtherKind => "it is not meant for this use",
            TokenRefusal::Expired => "it has expired",
            TokenRefusal::NotYetValid => "it is not valid yet",
            TokenRefusal::OtherSource => "it is for another source",
            TokenRefusal::OtherTarget => "it is for another target",
            TokenRefusal::OtherUid => "it is for another object of the same name",
            TokenRefusal::WithoutAsker => "it was written by a previous version and does not say who asked",
        })
    }
}
