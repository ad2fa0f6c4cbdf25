//! Headers that no tar writes are refused, by name, and cost nothing.

use decant_cloner::error::Kind;
use decant_test_support::archive::HandMade;

use crate::read_all::read_all;

fn damage(bytes: &[u8]) -> String {
    let error = read_all(bytes).expect_err("must be refused");
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn one_flipped_bit_in_a_header_is_damage() {
    let whole = HandMade::default().file("a", "x").end();
    for at in 0..512 {
        // Blanks and NULs around a number are the same to every tar.
        if (148..156).contains(&at) {
            continue;
        }
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        assert!(damage(&flipped).contains("tar header is missing"), "byte {at}");
    }
}

#[test]
fn unknown_types_are_refused_by_name() {
    for kind in [b'M', b'Z', b'8', b'\n', 0xff] {
        let text = damage(&HandMade::default().block(HandMade::header(kind, "odd", 0), b"").end());
        assert!(text.contains("\"odd\"") && text.contains("is unknown"), "{text}");
    }
}

#[test]
fn impossible_sizes_are_damage_and_cost_no_memory() {
    let with_size = |kind: u8, size: [u8; 12]| {
        let mut header = HandMade::header(kind, "huge", 0);
        header.as_old_mut().size = size;
        HandMade::default().block(header, b"x").end()
    };
    let mut two_to_63 = [0; 12];
    (two_to_63[0], two_to_63[4]) = (0x80, 0x80);
    let mut almost = [0xff; 12];
    (almost[0], almost[1], almost[2], almost[3], almost[4]) = (0x80, 0, 0, 0, 0x7f);
    for kind in [b'0', b'x', b'g', b'L', b'K', b'S'] {
        for size in [two_to_63, [0xff; 12], almost, *b"-00000000001", *b"zzzzzzzzzzz\0"] {
            assert!(damage(&with_size(kind, size)).contains("\"huge\""));
        }
    }
    let pax = |records: &[(&str, &str)]| HandMade::default().pax(b'x', records).file("member", "").end();
    damage(&pax(&[("size", "9223372036854775808")]));
    assert!(damage(&pax(&[("size", "9223372036854775807")])).contains("\"member\""));
}

#[test]
fn extended_headers_are_bounded() {
    let name = "n".repeat(70_000);
    let long = HandMade::header(b'L', "././@LongLink", name.len() as u64);
    assert!(
        damage(&HandMade::default().block(long, name.as_bytes()).file("x", "").end()).contains("too long")
    );
    let value = "v".repeat(1 << 20);
    assert!(
        damage(&HandMade::default().pax(b'x', &[("comment", &value)]).file("x", "").end())
            .contains("too long")
    );
    damage(&HandMade::default().file("a", "").pax(b'x', &[("path", "b")]).end());
}

#[test]
fn headers_of_one_member_share_one_limit() {
    let comment = "c".repeat(1 << 19);
    let mut archive = HandMade::default();
    for _ in 0..9 {
        archive = archive.pax(b'x', &[("comment", &comment)]);
    }
    assert!(damage(&archive.file("x", "").end()).contains("of headers precede one member"));
    // Without content, too, and of any kind.
    for kind in [b'x', b'g', b'V'] {
        let mut archive = HandMade::default();
        for _ in 0..9000 {
            archive = archive.block(HandMade::header(kind, "header", 0), b"");
        }
        assert!(damage(&archive.file("x", "").end()).contains("of headers precede one member"), "{kind}");
    }
}

#[test]
fn a_sparse_map_in_a_global_header_is_damage() {
    let archive = HandMade::default().pax(b'g', &[("GNU.sparse.map", "0,1")]).file("x", "").end();
    assert!(damage(&archive).contains("a header for all members has a sparse map"));
}

#[test]
fn impossible_sparse_maps_are_damage() {
    let maps: [(u64, &[(u64, u64)]); 6] = [
        (100, &[(0, 4), (2, 3)]),
        (100, &[(50, 4), (0, 3)]),
        (100, &[(98, 7)]),
        (100, &[(0, 6)]),
        (100, &[(0, 8)]),
        (100, &[(i64::MAX as u64, 7)]),
    ];
    for (real, map) in maps {
        let text = damage(&HandMade::default().sparse("holey", real, map, b"1234567").end());
        assert!(text.contains("\"holey\""), "{text}");
    }
    let mut header = HandMade::header(b'S', "ustar", 0);
    header.as_mut_bytes()[257..265].copy_from_slice(b"ustar\x0000");
    damage(&HandMade::default().block(header, b"").end());
    let front = |map: &[u8]| {
        HandMade::default()
            .pax(
                b'x',
                &[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9"), ("GNU.sparse.name", "holey")],
            )
            .block(HandMade::header(b'0', "x", map.len() as u64), map)
            .end()
    };
    for map in [&b"1\n0\n9\n"[..], &[b'1'; 512], &[0; 512], &[b'9'; 5000]] {
        assert!(damage(&front(map)).contains("\"holey\""));
    }
}
