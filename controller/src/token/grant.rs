//! What a token grants, and why it grants nothing.

use std::fmt;

use time::OffsetDateTime;

use crate::objects::{ClonedKind, Key, Uid};
use crate::token::asker::Asker;

/// Why a token is not a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not in the format of a token.
    Malformed,
    /// Signed with another key.
    Forged,
    /// A short token where a long one is needed, or the other way round.
    OtherKind,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// For another source.
    OtherSource,
    /// For another target.
    OtherTarget,
    /// For another object with the same name.
    OtherUid,
    /// From a version that did not store the user.
    WithoutAsker,
}

/// The permission in a new token.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'g> {
    /// The source.
    pub source: &'g Key,
    /// Its kind.
    pub source_kind: ClonedKind,
    /// The UID of the source; `None` if it does not exist yet.
    pub source_uid: Option<&'g Uid>,
    /// The target.
    pub target: &'g Key,
    /// The user.
    pub asker: &'g Asker,
}

/// The content of a valid token, besides the names it was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The user.
    pub asker: Asker,
    /// The kind of the source. The caller compares it, as it compares the UID.
    pub source_kind: ClonedKind,
    /// The UID of the source, if it existed when the token was written.
    pub source_uid: Option<Uid>,
    /// When the token was written; of a long token, a day before that.
    pub written: OffsetDateTime,
    /// Whether the API server had authenticated itself to the webhook that wrote a short token.
    pub caller_is_proven: bool,
}

impl Granted {
    /// Itself, if it is for a source of this kind.
    pub fn for_kind(self, kind: ClonedKind) -> Result<Self, TokenRefusal> {
        if self.source_kind == kind { Ok(self) } else { Err(TokenRefusal::OtherSource) }
    }
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
            TokenRefusal::WithoutAsker => "it was written by a previous version and does not name the user",
        })
    }
}
