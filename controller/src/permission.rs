//! Who may clone what to where.
//!
//! Within a namespace: whoever may create a DataVolume. Across namespaces: only with the consent of the source's
//! owner, who names the namespaces in an annotation of the source claim.

use crate::annotations::ALLOW_CLONE_TO;
use crate::resource::{Claim, Key};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Source and target are in one namespace.
    SameNamespace,
    /// The owner of the source named the target's namespace.
    Consent,
    /// No. The sentence says what is missing.
    Denied(String),
}

/// Whether `source` may be cloned to the claim `target`.
pub fn check(source: &Claim, target: &Key) -> Permission {
    let from = source.metadata.key();
    if from.namespace == target.namespace {
        return Permission::SameNamespace;
    }
    let consent = source.metadata.annotation(ALLOW_CLONE_TO).unwrap_or_default();
    if consent.split(',').map(str::trim).any(|name| name == "*" || name == target.namespace) {
        return Permission::Consent;
    }
    Permission::Denied(format!(
        "PVC {from} may not be cloned to namespace {to}: its owner has to annotate it with {ALLOW_CLONE_TO}: {to}",
        to = target.namespace
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(consent: Option<&str>) -> Claim {
        let mut claim = Claim::default();
        claim.metadata.namespace = "golden".to_owned();
        claim.metadata.name = "image".to_owned();
        if let Some(consent) = consent {
            claim.metadata.annotations.insert(ALLOW_CLONE_TO.to_owned(), consent.to_owned());
        }
        claim
    }

    #[test]
    fn a_namespace_may_clone_what_is_its_own() {
        assert_eq!(check(&source(None), &Key::new("golden", "x")), Permission::SameNamespace);
    }

    #[test]
    fn consent_names_namespaces() {
        for yes in ["team", "a, team ,b", "*"] {
            assert_eq!(check(&source(Some(yes)), &Key::new("team", "x")), Permission::Consent, "{yes}");
        }
        for no in [None, Some(""), Some("tea"), Some("team2"), Some("teams,a")] {
            assert!(matches!(check(&source(no), &Key::new("team", "x")), Permission::Denied(_)), "{no:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let Permission::Denied(why) = check(&source(None), &Key::new("team", "x")) else { panic!() };
        assert!(why.contains("decant.dev/allow-clone-to: team"), "{why}");
    }
}
