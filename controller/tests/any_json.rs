//! No object makes the controller panic, whatever its author writes into it. `controller/fuzz` runs the same
//! cases (`controller/test-support`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use decant_controller_test_support::{bytes, world};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, ..ProptestConfig::default() })]

    #[test]
    fn a_reconcile_round_never_panics_on_any_object(input in prop::collection::vec(any::<u8>(), 0..300)) {
        world::case(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_decoded_or_refused_as_any_kind(input in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = bytes::Bytes::new(&input).json(8).to_string();
        world::raw(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_as_any_kind(input in prop::collection::vec(any::<u8>(), 0..200)) {
        world::raw(&input);
    }
}

/// The cases above are worth something only if some of them reach the construction of objects.
#[test]
fn an_unmodified_clone_gets_its_claim_and_pods() {
    // How many objects are there; the other bytes say that none is added, renamed or changed.
    let made = |count| world::case(&[count, 15, 1, 1]);
    assert!(made(2).contains(&"PersistentVolumeClaim".to_owned()), "{:?}", made(2));
    for count in [4, 5] {
        let kinds = made(count);
        assert!(
            ["Pod", "Secret"].iter().all(|kind| kinds.iter().any(|made| made == kind)),
            "{count}: {kinds:?}"
        );
    }
}
