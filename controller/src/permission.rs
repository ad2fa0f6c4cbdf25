//! Whether a clone may be made (contract 4.4). Pure: everything that counts is in the [`Ask`].

use time::OffsetDateTime;

use crate::annotations::ALLOW_CLONE_TO;
use crate::resource::{Key, Uid};
use crate::token::{Refusal, TokenKey};

/// A clone that somebody wants, and what speaks for it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The claim that is to be read; of a DataSource, the claim that it points to.
    pub source: &'a Key,
    /// The DataVolume, or the bare claim, that is to be filled.
    pub target: &'a Key,
    /// Which one of that name.
    pub target_uid: &'a Uid,
    /// The annotation [`ALLOW_CLONE_TO`] of the source claim.
    pub consent: Option<&'a str>,
    /// The annotation `cdi.kubevirt.io/storage.clone.token` of the target.
    pub short_token: Option<&'a str>,
    /// The annotation `cdi.kubevirt.io/storage.extended.clone.token` of the target.
    pub long_token: Option<&'a str>,
    /// What tokens are checked with.
    pub keys: &'a TokenKey,
    /// The time.
    pub now: OffsetDateTime,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Source and target are in one namespace, where nothing can be read that could not be read anyway.
    SameNamespace,
    /// The source's owner lets everybody in the target's namespace have copies.
    Consent,
    /// A long token allows exactly this clone.
    Token,
    /// The webhook's short token allows it. This long token takes its place: write it to the target before
    /// anything else happens.
    ExtendToken(String),
    /// Nothing allows it. The sentence says what is missing and how it can be given.
    Denied(String),
}

impl Permission {
    /// Whether the clone may go on now (an [`Permission::ExtendToken`] has to be written first).
    pub fn is_given(&self) -> bool {
        matches!(self, Permission::SameNamespace | Permission::Consent | Permission::Token)
    }
}

/// Looks for something that allows the clone.
pub fn check(ask: &Ask<'_>) -> Permission {
    let Ask { source, target, target_uid, keys, now, .. } = *ask;
    if source.namespace == target.namespace {
        return Permission::SameNamespace;
    }
    if ask.consent.is_some_and(|consent| consents(consent, &target.namespace)) {
        return Permission::Consent;
    }
    // Without a UID the target is not there yet, and nothing can be bound to it.
    if target_uid.as_str().is_empty() {
        return Permission::Denied(denial(ask, None));
    }
    let long = ask.long_token.map(|token| keys.check_long(token, source, target, target_uid, now));
    if long == Some(Ok(())) {
        return Permission::Token;
    }
    let short = ask.short_token.map(|token| keys.check_short(token, source, target, now));
    if short == Some(Ok(())) {
        return Permission::ExtendToken(keys.long(source, target, target_uid, now));
    }
    Permission::Denied(denial(ask, long.or(short).and_then(Result::err)))
}

/// Whether the owner's annotation names `namespace`: a list with commas, `*` for all.
pub fn consents(annotation: &str, namespace: &str) -> bool {
    !namespace.is_empty() && annotation.split(',').map(str::trim).any(|name| name == "*" || name == namespace)
}

fn denial(ask: &Ask<'_>, refusal: Option<Refusal>) -> String {
    let Ask { source, target, .. } = ask;
    let token = refusal.map_or_else(
        || "there is no token from the admission webhook".to_owned(),
        |why| format!("the token is of no use: {why}"),
    );
    format!(
        "Nothing allows cloning claim {source} into namespace {namespace}: {token}, and the claim's owner has not \
         given consent. Either delete this object and create it again as a user who may create \
         datavolumes/source in namespace {from}, with the admission webhook installed, or annotate the claim {source} \
         with {ALLOW_CLONE_TO}={namespace}",
        namespace = target.namespace,
        from = source.namespace,
    )
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    struct Case {
        source: Key,
        target: Key,
        uid: Uid,
        key: TokenKey,
        now: OffsetDateTime,
    }

    impl Case {
        fn new() -> Self {
            Self {
                source: Key::new("a", "golden"),
                target: Key::new("b", "copy"),
                uid: Uid::from("u-1"),
                key: TokenKey::new(&[3; 32]),
                now: OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
            }
        }

        fn short(&self) -> String {
            self.key.short(&self.source, &self.target, self.now)
        }

        fn long(&self) -> String {
            self.key.long(&self.source, &self.target, &self.uid, self.now)
        }

        fn check(&self, consent: Option<&str>, short: Option<&str>, long: Option<&str>) -> Permission {
            check(&Ask {
                source: &self.source,
                target: &self.target,
                target_uid: &self.uid,
                consent,
                short_token: short,
                long_token: long,
                keys: &self.key,
                now: self.now,
            })
        }

        fn denied(&self, short: Option<&str>, long: Option<&str>) -> String {
            match self.check(None, short, long) {
                Permission::Denied(why) => why,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn one_namespace_needs_nothing() {
        let mut case = Case::new();
        case.target.namespace = "a".to_owned();
        assert_eq!(case.check(None, None, None), Permission::SameNamespace);
    }

    #[test]
    fn consent_names_the_targets_namespace() {
        for yes in ["b", "*", "a,b", " x , b ", "x,*"] {
            assert_eq!(Case::new().check(Some(yes), None, None), Permission::Consent, "{yes:?}");
        }
        for no in ["", ",", "bb", "a", "B", "b/copy", "b*", "a b"] {
            assert!(matches!(Case::new().check(Some(no), None, None), Permission::Denied(_)), "{no:?}");
        }
        assert!(!consents("", ""));
    }

    #[test]
    fn a_long_token_is_enough() {
        let case = Case::new();
        assert_eq!(case.check(None, None, Some(&case.long())), Permission::Token);
    }

    #[test]
    fn a_short_token_becomes_a_long_one_for_this_very_object() {
        let case = Case::new();
        let Permission::ExtendToken(long) = case.check(None, Some(&case.short()), None) else { panic!() };
        assert_eq!(case.check(None, None, Some(&long)), Permission::Token);
        let recreated = Case { uid: Uid::from("u-2"), ..Case::new() };
        assert!(recreated.denied(None, Some(&long)).contains("another object of the same name"));
    }

    #[test]
    fn a_bad_long_token_does_not_hide_a_good_short_one() {
        let case = Case::new();
        assert!(matches!(case.check(None, Some(&case.short()), Some("x")), Permission::ExtendToken(_)));
    }

    #[test]
    fn a_short_token_that_came_too_late_is_denied() {
        let case = Case::new();
        let short = case.short();
        let later = Case { now: case.now + Duration::minutes(6), ..case };
        assert!(later.denied(Some(&short), None).contains("it has expired"));
    }

    #[test]
    fn a_short_token_cannot_be_passed_off_as_a_long_one() {
        let case = Case::new();
        assert!(case.denied(None, Some(&case.short())).contains("not meant for this use"));
        assert!(case.denied(Some(&case.long()), None).contains("not meant for this use"));
    }

    #[test]
    fn a_token_of_another_data_volume_is_denied() {
        let case = Case::new();
        let other = Case { target: Key::new("b", "other"), ..Case::new() };
        assert!(case.denied(Some(&other.short()), None).contains("another target"));
        assert!(case.denied(None, Some(&other.long())).contains("another target"));
    }

    #[test]
    fn an_object_without_a_uid_gets_no_token() {
        let case = Case { uid: Uid::default(), ..Case::new() };
        case.denied(Some(&case.short()), None);
        case.denied(None, Some(&case.long()));
    }

    #[test]
    fn a_denial_names_both_ways_out() {
        let why = Case::new().denied(None, None);
        assert!(why.contains("there is no token"), "{why}");
        assert!(why.contains("create datavolumes/source in namespace a"), "{why}");
        assert!(why.contains("annotate the claim a/golden with decant.dev/allow-clone-to=b"), "{why}");
    }
}
