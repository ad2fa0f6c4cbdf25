use time::Duration;

use super::*;
use crate::objects::{ClonedKind, PopulatorKind};
use crate::token::grant::Grant;

struct Case {
    source: Key,
    source_uid: Option<Uid>,
    through: Option<Through>,
    target: Key,
    uid: Uid,
    kind: TargetKind,
    key: TokenKey,
    asker: Asker,
    now: OffsetDateTime,
}

impl Case {
    fn new() -> Self {
        Self {
            source: Key::new("a", "golden"),
            source_uid: Some(Uid::from("s-1")),
            through: None,
            target: Key::new("b", "copy"),
            uid: Uid::from("u-1"),
            kind: TargetKind::DataVolume,
            key: TokenKey::new(&[3; 32]),
            asker: Asker { username: "jane".to_owned(), ..Asker::default() },
            now: OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
        }
    }

    fn grant(&self) -> Grant<'_> {
        Grant {
            source: &self.source,
            source_kind: ClonedKind::Claim,
            source_uid: self.source_uid.as_ref(),
            target: &self.target,
            asker: &self.asker,
        }
    }

    fn short(&self) -> String {
        self.key.short(&self.grant(), true, self.now)
    }

    fn long(&self) -> String {
        self.key.long(&self.grant(), &self.uid, self.now)
    }

    fn check(&self, consent: Option<&str>, short: Option<&str>, long: Option<&str>) -> Finding {
        let ask = Ask {
            source: &self.source,
            source_kind: ClonedKind::Claim,
            source_uid: self.source_uid.as_ref(),
            through: self.through.clone(),
            target: &self.target,
            target_uid: &self.uid,
            target_kind: self.kind,
            consent,
            short_token: short,
            long_token: long,
            now: self.now,
        };
        check(&ask, &self.key)
    }

    fn denied(&self, short: Option<&str>, long: Option<&str>) -> String {
        match self.check(None, short, long) {
            Finding::Settled(Permission::Denied(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn extension(&self, short: Option<&str>, long: Option<&str>) -> Extension {
        match self.check(None, short, long) {
            Finding::Extend(extension) => extension,
            other => panic!("{other:?}"),
        }
    }
}

fn token(case: &Case) -> Finding {
    Finding::Settled(Permission::Token(case.asker.clone()))
}

#[test]
fn one_namespace_needs_nothing() {
    let mut case = Case::new();
    case.target.namespace = "a".to_owned();
    assert_eq!(case.check(None, None, None), Finding::Settled(Permission::SameNamespace));
}

#[test]
fn consent_names_the_targets_namespace() {
    for kind in [TargetKind::DataVolume, TargetKind::Claim, TargetKind::CloneSource] {
        let case = Case { kind, ..Case::new() };
        for yes in ["b", "*", "a,b", " x , b ", "x,*"] {
            assert_eq!(case.check(Some(yes), None, None), Finding::Settled(Permission::Consent), "{yes:?}");
        }
        for no in ["", ",", "bb", "a", "B", "b/copy", "b*", "a b"] {
            let found = case.check(Some(no), None, None);
            assert!(matches!(found, Finding::Settled(Permission::Denied(_))), "{no:?}");
        }
    }
    assert!(!consents("", ""));
}

#[test]
fn a_long_token_for_this_source_is_enough() {
    for kind in [TargetKind::DataVolume, TargetKind::Claim, TargetKind::CloneSource] {
        let case = Case { kind, ..Case::new() };
        assert_eq!(case.check(None, None, Some(&case.long())), token(&case));
    }
}

#[test]
fn a_short_token_becomes_a_long_one_for_this_very_object() {
    let case = Case::new();
    let extension = case.extension(Some(&case.short()), None);
    assert_eq!(extension, Extension { asker: case.asker.clone(), is_bound: true, unproven_since: None });
    let recreated = Case { uid: Uid::from("u-2"), ..Case::new() };
    assert!(recreated.denied(None, Some(&case.long())).contains("another object of the same name"));
}

#[test]
fn a_short_token_on_a_bare_claim_is_ignored() {
    for kind in [TargetKind::Claim, TargetKind::CloneSource] {
        let case = Case { kind, ..Case::new() };
        let why = case.denied(Some(&case.short()), None);
        assert!(why.contains("a PVC without a DataVolume gets no token"), "{why}");
    }
}

#[test]
fn only_the_denial_of_a_clone_source_names_the_reference_grant_that_would_allow_it() {
    let denied = |kind| Case { kind, ..Case::new() }.denied(None, None);
    let why = denied(TargetKind::CloneSource);
    let way = "a ReferenceGrant (gateway.networking.k8s.io) created in namespace a, from kind CloneSource of group decant.dev in \
               namespace b to PersistentVolumeClaim golden, or annotate the claim a/golden with decant.dev/allow-clone-to=b";
    assert!(why.contains(way), "{why}");
    for kind in [TargetKind::DataVolume, TargetKind::Claim] {
        assert!(!denied(kind).contains("ReferenceGrant"), "{kind:?}");
    }
}

#[test]
fn the_denial_of_a_clone_source_does_not_tell_whether_the_source_exists() {
    let case = |source_uid| Case { kind: TargetKind::CloneSource, source_uid, ..Case::new() };
    assert_eq!(case(None).denied(None, None), case(Some(Uid::from("s-1"))).denied(None, None));
}

#[test]
fn a_token_whose_writer_did_not_know_who_asked_says_since_when() {
    let case = Case::new();
    let short = case.key.short(&case.grant(), false, case.now);
    assert_eq!(case.extension(Some(&short), None).unproven_since, Some(case.now));
}

#[test]
fn a_long_token_ends_with_its_source_whether_that_is_gone_or_another_one() {
    let case = Case::new();
    let long = case.long();
    let gone = Case { source_uid: None, ..Case::new() }.denied(None, Some(&long));
    let replaced = Case { source_uid: Some(Uid::from("s-2")), ..Case::new() }.denied(None, Some(&long));
    assert_eq!(gone, replaced);
    assert!(gone.contains("user jane, who asked for it"), "{gone}");
}

#[test]
fn a_short_token_for_a_source_that_was_replaced_is_denied() {
    let short = Case::new().short();
    for source_uid in [None, Some(Uid::from("s-2"))] {
        let why = Case { source_uid, ..Case::new() }.denied(Some(&short), None);
        assert!(why.contains("the claim that the token was given for is gone"), "{why}");
    }
}

#[test]
fn a_token_from_before_its_source_is_provisional_and_then_replaced() {
    let before = Case { source_uid: None, ..Case::new() };
    let (short, long) = (before.short(), before.long());
    assert!(!before.extension(Some(&short), None).is_bound);
    assert_eq!(before.check(None, Some(&short), Some(&long)), Finding::Provisional(before.asker.clone()));
    let after = Case::new();
    for (short, long) in [(Some(&*short), Some(&*long)), (None, Some(&*long)), (Some(&*short), None)] {
        assert!(!after.extension(short, long).is_bound, "the right has to be asked for again");
    }
    let late = Case { now: before.now + Duration::minutes(61), ..Case::new() };
    assert!(late.denied(None, Some(&long)).contains("it has expired"));
}

#[test]
fn a_fresh_token_of_another_user_takes_the_place_of_the_first_ones() {
    let (jane, joe) = (
        Case::new(),
        Case { asker: Asker { username: "joe".to_owned(), ..Asker::default() }, ..Case::new() },
    );
    assert_eq!(jane.extension(Some(&joe.short()), Some(&jane.long())).asker, joe.asker);
    assert_eq!(jane.check(None, Some(&jane.short()), Some(&jane.long())), token(&jane), "once is enough");
    let elsewhere = Case { source_uid: Some(Uid::from("s-0")), ..joe };
    assert_eq!(jane.check(None, Some(&elsewhere.short()), Some(&jane.long())), token(&jane));
}

#[test]
fn a_bad_long_token_does_not_hide_a_good_short_one() {
    let case = Case::new();
    case.extension(Some(&case.short()), Some("x"));
    let replaced = Case { source_uid: Some(Uid::from("s-0")), ..Case::new() }.long();
    case.extension(Some(&case.short()), Some(&replaced));
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

#[test]
fn without_permission_a_denial_does_not_tell_whether_the_source_is_there() {
    for kind in [TargetKind::DataVolume, TargetKind::Claim] {
        for through in [None, Some(Through::DataSource(Key::new("z", "images")))] {
            let case = || Case { kind, through: through.clone(), ..Case::new() };
            let missing = Case { source_uid: None, ..case() };
            assert_eq!(case().denied(None, None), missing.denied(None, None));
            assert_eq!(case().denied(Some("x"), Some("y")), missing.denied(Some("x"), Some("y")));
        }
    }
}

#[test]
fn a_denial_does_not_name_the_claim_behind_a_data_source_of_another_namespace() {
    let images = Key::new("z", "images");
    let case = Case { through: Some(Through::DataSource(images.clone())), ..Case::new() };
    let replaced = Case { source_uid: Some(Uid::from("s-0")), ..Case::new() }.long();
    for long in [None, Some("x"), Some(&*replaced)] {
        let why = case.denied(None, long);
        assert_eq!(why, denial_through(&images, "b"));
        assert!(!why.contains("golden"), "{why}");
    }
}

#[test]
fn a_denial_does_not_name_the_claim_behind_a_volume_clone_source_of_another_namespace() {
    let populator = PopulatorRef { kind: PopulatorKind::VolumeCloneSource, key: Key::new("z", "images") };
    let through = Some(Through::Populator(populator.clone()));
    let case = Case { kind: TargetKind::Claim, through, ..Case::new() };
    let replaced = Case { source_uid: Some(Uid::from("s-0")), ..Case::new() }.long();
    for long in [None, Some("x"), Some(&*replaced)] {
        let why = case.denied(None, long);
        // What the user gets if the VolumeCloneSource does not exist.
        assert_eq!(why, denial_through_populator(&populator, "b"));
        assert!(!why.contains("golden"), "{why}");
    }
}

#[test]
fn a_token_for_a_claim_is_none_for_a_snapshot_of_the_same_name() {
    let mut case = Case::new();
    for source_uid in [None, Some(Uid::from("s-1"))] {
        case.source_uid = source_uid;
        let (short, long) = (case.short(), case.long());
        let ask = |source_kind| Ask {
            source: &case.source,
            source_kind,
            source_uid: case.source_uid.as_ref(),
            through: None,
            target: &case.target,
            target_uid: &case.uid,
            target_kind: case.kind,
            consent: None,
            short_token: Some(&short),
            long_token: Some(&long),
            now: case.now,
        };
        let is_denied =
            |kind| matches!(check(&ask(kind), &case.key), Finding::Settled(Permission::Denied(_)));
        assert!(!is_denied(ClonedKind::Claim));
        assert!(is_denied(ClonedKind::Snapshot));
    }
}
