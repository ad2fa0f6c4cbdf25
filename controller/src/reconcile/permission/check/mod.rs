//! Whether a clone may be made, from known facts only: everything that matters is in the [`Ask`].

use time::OffsetDateTime;

use crate::objects::annotations::ALLOW_CLONE_TO;
use crate::objects::{ClonedKind, Key, Kind, PopulatorRef, Uid};
use crate::token::asker::Asker;
use crate::token::grant::{Granted, TokenRefusal};
use crate::token::key::TokenKey;

/// A request for a clone, and the facts that may allow it.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The claim or snapshot to read; for a DataSource, the one that it points to.
    pub source: &'a Key,
    /// Which of the two it is.
    pub source_kind: ClonedKind,
    /// UID of the source; `None` if it does not exist.
    pub source_uid: Option<&'a Uid>,
    /// The object of another namespace through which the request names the source, if it does.
    pub through: Option<Through>,
    /// The DataVolume, or the claim without a DataVolume, to fill.
    pub target: &'a Key,
    /// UID of the target.
    pub target_uid: &'a Uid,
    /// The kind of the target.
    pub target_kind: TargetKind,
    /// The annotation [`ALLOW_CLONE_TO`] of the source.
    pub consent: Option<&'a str>,
    /// The annotation `cdi.kubevirt.io/storage.clone.token` of the target.
    pub short_token: Option<&'a str>,
    /// The annotation `cdi.kubevirt.io/storage.extended.clone.token` of the target.
    pub long_token: Option<&'a str>,
    /// The current time.
    pub now: OffsetDateTime,
}

/// An object of another namespace that names a source. Users without permission do not learn which, or whether the
/// object exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// A DataSource, which a DataVolume names.
    DataSource(Key),
    /// A VolumeCloneSource, which a claim names.
    Populator(PopulatorRef),
}

impl Through {
    fn denial(&self, target_namespace: &str) -> String {
        match self {
            Through::DataSource(key) => denial_through(key, target_namespace),
            Through::Populator(populator) => denial_through_populator(populator, target_namespace),
        }
    }
}

/// The kind of object that requests a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A DataVolume. The webhook ensures that users do not write its tokens.
    DataVolume,
    /// A claim without a DataVolume. Its author can write every annotation.
    Claim,
    /// A claim that a CloneSource fills. Its author can write every annotation. ReferenceGrants count.
    CloneSource,
}

/// The permission for a clone, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Source and target are in one namespace, so the clone reveals nothing that its users cannot read anyway.
    SameNamespace,
    /// The source's owner allows all users of the target's namespace to clone it.
    Consent,
    /// A ReferenceGrant in the source's namespace allows it to the CloneSources of the target's namespace.
    Granted,
    /// A long token allows exactly this clone to the named user, who may have lost the right since.
    Token(Asker),
    /// A valid token has to be replaced by this long token. Write it to the target before any other step.
    ExtendToken(String),
    /// Nothing allows it. The text describes what is missing and how to grant it.
    Denied(String),
}

impl Permission {
    /// Whether the clone may continue now (an [`Permission::ExtendToken`] has to be written first).
    pub fn is_given(&self) -> bool {
        matches!(
            self,
            Permission::SameNamespace | Permission::Consent | Permission::Granted | Permission::Token(_)
        )
    }
}

/// The result of checking annotations and tokens alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The permission is settled.
    Settled(Permission),
    /// A long token from before the source existed, which still does not exist. It counts only if its user has the
    /// right now.
    Provisional(Asker),
    /// A token allows the clone, but has to be replaced by a long token for this source.
    Extend(Extension),
}

/// A token that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The user who requested the clone.
    pub asker: Asker,
    /// Whether the webhook checked exactly this source. Otherwise the controller must check the user's right again.
    pub is_bound: bool,
    /// When the token was written; set only if the webhook's caller was not authenticated as the API server.
    pub unproven_since: Option<OffsetDateTime>,
}

/// Finds what allows the clone, if anything does.
pub fn check(ask: &Ask<'_>, keys: &TokenKey) -> Finding {
    if ask.source.namespace == ask.target.namespace {
        return Finding::Settled(Permission::SameNamespace);
    }
    if ask.consent.is_some_and(|consent| consents(consent, &ask.target.namespace)) {
        return Finding::Settled(Permission::Consent);
    }
    // Without a UID the target does not exist yet, and no token can be bound to it.
    if ask.target_uid.as_str().is_empty() {
        return denied(ask, None);
    }
    let long =
        ask.long_token.map(|token| keys.check_long(token, ask.source, ask.target, ask.target_uid, ask.now));
    let of_kind = |granted: Result<Granted, _>| granted.and_then(|granted| granted.for_kind(ask.source_kind));
    let long = long.map(of_kind);
    // The short token of a claim does not count, because users can write any annotation of their claims.
    let short = ask.short_token.filter(|_| ask.target_kind == TargetKind::DataVolume);
    let short = short.map(|token| keys.check_short(token, ask.source, ask.target, ask.now)).map(of_kind);
    let fresh = short.as_ref().and_then(|short| short.as_ref().ok());
    let fresh =
        fresh.filter(|short| short.source_uid.is_none() || short.source_uid.as_ref() == ask.source_uid);
    let lasting = long.as_ref().and_then(|long| long.as_ref().ok());
    // A fresh token of another user was issued because the first user may no longer clone.
    if let Some(long) = lasting.filter(|long| fresh.is_none_or(|fresh| fresh.asker == long.asker)) {
        match (&long.source_uid, ask.source_uid) {
            (Some(uid), Some(now)) if uid == now => {
                return Finding::Settled(Permission::Token(long.asker.clone()));
            }
            (None, None) => return Finding::Provisional(long.asker.clone()),
            (None, Some(_)) => {
                return Finding::Extend(Extension {
                    asker: long.asker.clone(),
                    is_bound: false,
                    // That was checked when the long token was written.
                    unproven_since: None,
                });
            }
            // The token is for a claim that is gone. A fresh token may be for the claim that exists now.
            (Some(_), _) => {}
        }
    }
    if let Some(short) = fresh {
        return Finding::Extend(Extension {
            asker: short.asker.clone(),
            is_bound: short.source_uid.is_some(),
            unproven_since: (!short.caller_is_proven).then_some(short.written),
        });
    }
    // Tokens that are valid at this point are for an earlier source of that name.
    if let Some(granted) = [&long, &short].into_iter().flatten().find_map(|token| token.as_ref().ok()) {
        return Finding::Settled(Permission::Denied(revoked(ask, &granted.asker)));
    }
    denied(ask, long.or(short).and_then(Result::err))
}

/// Whether the owner's annotation allows `namespace`: it is a comma-separated list, with `*` for all.
pub fn consents(annotation: &str, namespace: &str) -> bool {
    !namespace.is_empty() && annotation.split(',').map(str::trim).any(|name| name == "*" || name == namespace)
}

fn denied(ask: &Ask<'_>, refusal: Option<TokenRefusal>) -> Finding {
    Finding::Settled(Permission::Denied(denial(ask, refusal)))
}

fn denial(ask: &Ask<'_>, refusal: Option<TokenRefusal>) -> String {
    let Ask { source, target, .. } = ask;
    if let Some(through) = &ask.through {
        return through.denial(&target.namespace);
    }
    let noun = ask.source_kind.noun();
    let token = match (refusal, ask.target_kind) {
        (Some(why), _) => format!("the token is of no use: {why}"),
        (None, TargetKind::DataVolume) => "there is no token from the admission webhook".to_owned(),
        (None, TargetKind::Claim | TargetKind::CloneSource) => {
            "a PVC without a DataVolume gets no token".to_owned()
        }
    };
    format!(
        "Nothing allows cloning {noun} {source} into namespace {}: {token}, and the {noun}'s owner has not given consent. {}",
        target.namespace,
        remedy(ask),
    )
}

/// The denial of a token that was valid earlier. The message is the same for both reasons, so that it does not reveal
/// whether the claim exists.
pub(crate) fn revoked(ask: &Ask<'_>, asker: &Asker) -> String {
    let Ask { source, target, .. } = ask;
    if let Some(through) = &ask.through {
        return through.denial(&target.namespace);
    }
    let noun = ask.source_kind.noun();
    format!(
        "Nothing allows cloning {noun} {source} into namespace {} any more: user {}, who asked for it, may not clone it now, \
         or the {noun} that the token was given for is gone. {}",
        target.namespace,
        asker.username,
        remedy(ask),
    )
}

/// The denial of a clone through a DataSource of another namespace. Only users who may clone it learn what it refers
/// to, and whether it exists at all; all other users get this message, whatever the cause.
pub(crate) fn denial_through(data_source: &Key, target_namespace: &str) -> String {
    format!(
        "Nothing allows cloning what DataSource {data_source} refers to into namespace {target_namespace}, or it refers to \
         no PVC. Either have a user who may create datavolumes/source in the namespace of that PVC make or change this \
         DataVolume, with the admission webhook installed, or have the owner annotate that PVC with \
         {ALLOW_CLONE_TO}={target_namespace}"
    )
}

/// The denial of a clone through an object of another namespace that fills a claim. The message is the same whether the
/// object exists or not.
pub(crate) fn denial_through_populator(populator: &PopulatorRef, target_namespace: &str) -> String {
    format!(
        "Nothing allows cloning what {populator} refers to into namespace {target_namespace}, or it refers to no PVC. Have the owner \
         annotate that PVC with {ALLOW_CLONE_TO}={target_namespace}, or use a CloneSource in the namespace of this PVC"
    )
}

/// The denial of a token that counts only when the webhook reviews every DataVolume.
pub(crate) fn not_guarded(ask: &Ask<'_>, why: &str) -> String {
    format!(
        "The token from the admission webhook does not count, because users could have written it themselves: {why}. Have \
         an administrator apply controller/deploy/webhook, or have the webhook check its caller (--webhook-client-ca). {}",
        remedy(ask),
    )
}

fn remedy(ask: &Ask<'_>) -> String {
    let Ask { source, target, .. } = ask;
    let from = &source.namespace;
    let by_right = match ask.target_kind {
        TargetKind::DataVolume => format!(
            "Either have a user who may create datavolumes/source in namespace {from} change this DataVolume in any way \
             (a label will do), with the admission webhook installed"
        ),
        TargetKind::Claim => format!(
            "Either have a user who may create datavolumes/source in namespace {from} make a DataVolume instead, with the \
             admission webhook installed"
        ),
        TargetKind::CloneSource => format!(
            "Either have a ReferenceGrant (gateway.networking.k8s.io) created in namespace {from}, from kind {} of group {} in \
             namespace {} to {} {}",
            Kind::CloneSource.name(),
            Kind::CloneSource.group(),
            target.namespace,
            ask.source_kind.kind().name(),
            source.name,
        ),
    };
    format!(
        "{by_right}, or annotate the {} {source} with {ALLOW_CLONE_TO}={}",
        ask.source_kind.noun(),
        target.namespace
    )
}

#[cfg(test)]
mod tests;
