//! What the archive reader takes, and what it refuses.

use crate::read_all::read_all;
use decant_cloner::error::Kind;
use decant_cloner::tar::entry::EntryKind;
use decant_test_support::archive::HandMade;
use proptest::prelude::*;

fn damage(bytes: &[u8]) -> String {
    let error = read_all(bytes).expect_err("must be refused");
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

/// One entry of every kind, so that truncations and bit flips hit every kind of header.
fn rich() -> Vec<u8> {
    let long = "n".repeat(300);
    HandMade::default()
        .directory("./")
        .file("./a", &"content of a ".repeat(100))
        .block(HandMade::header(b'L', "././@LongLink", 301), format!("{long}\0").as_bytes())
        .file("short", "1")
        .pax(b'g', &[("comment", "hello")])
        .pax(b'x', &[("path", "pax\nname"), ("mtime", "17.25")])
        .file("ignored", "2")
        .sparse("sparse", 10_000, &[(512, 3), (4096, 4), (10_000, 0)], b"abcDEFG")
        .pax(
            b'x',
            &[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "s1"),
                ("GNU.sparse.realsize", "5000"),
            ],
        )
        .block(HandMade::header(b'0', "GNUSparseFile.0/s1", 512 + 4), &{
            let mut content = b"1\n100\n4\n".to_vec();
            content.resize(512, 0);
            content.extend_from_slice(b"wxyz");
            content
        })
        .hard_link("link", "a")
        .symlink("sym", "a")
        .end()
}

#[test]
fn every_kind_of_header_is_parsed() {
    let all = read_all(&rich()).unwrap();
    let names: Vec<_> =
        all.iter().map(|(entry, _)| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    assert_eq!(names, ["./", "./a", &"n".repeat(300), "pax\nname", "sparse", "s1", "link", "sym"]);
    assert_eq!((all[3].0.modified.seconds, all[3].0.modified.nanoseconds), (17, 250_000_000));
    let sparse = &all[4].1;
    assert_eq!((sparse.len(), &sparse[512..515], &sparse[4096..4100]), (10_000, &b"abc"[..], &b"DEFG"[..]));
    let newest = &all[5].1;
    assert_eq!((newest.len(), &newest[100..104]), (5000, &b"wxyz"[..]));
    assert_eq!((all[6].0.kind, all[6].0.link.as_slice()), (EntryKind::HardLink, &b"a"[..]));
    assert_eq!((all[7].0.kind, all[7].0.link.as_slice()), (EntryKind::Symlink, &b"a"[..]));
}

#[test]
fn a_truncated_archive_is_damage_at_every_offset() {
    let whole = rich();
    assert!(read_all(&[]).unwrap().is_empty(), "but nothing at all is an empty archive");
    // One of the two zero blocks is enough.
    for len in (1..whole.len() - 512).filter(|len| len % 512 < 2 || len % 37 == 0) {
        if len % 512 == 0 && len == whole.len() - 512 {
            continue;
        }
        if len > whole.len() - 1024 {
            assert!(read_all(&whole[..len]).is_err(), "cut inside the end mark at {len}");
            continue;
        }
        damage(&whole[..len]);
    }
    assert!(read_all(&whole[..whole.len() - 512]).is_ok());
}

#[test]
fn bytes_after_the_end_marker_are_ignored() {
    let mut padded = rich();
    padded.extend_from_slice(&[7; 5000]);
    assert_eq!(read_all(&padded).unwrap().len(), 8);
    assert!(read_all(&HandMade::default().end()).unwrap().is_empty());
    assert_eq!(read_all(&HandMade::default().directory("./").end()).unwrap().len(), 1);
    assert!(read_all(&HandMade::default().pax(b'g', &[("comment", "c")]).end()).unwrap().is_empty());
}

#[test]
fn a_lone_zero_block_in_the_middle_is_damage() {
    let bytes = HandMade::default().file("a", "").raw(&[0; 512]).file("b", "").end();
    assert!(damage(&bytes).contains("single zero block"));
}

#[test]
fn signed_checksums_of_old_writers_are_accepted() {
    let mut header = HandMade::header(b'0', "a", 0);
    header.as_old_mut().name[1] = 0xfc;
    let mut bytes = HandMade::default().block(header, b"").end();
    bytes[148..156].fill(b' ');
    let sum: i32 = bytes.iter().take(512).map(|&byte| i32::from(byte.cast_signed())).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read_all(&bytes).unwrap()[0].0.name, [b'a', 0xfc]);
}

#[test]
fn old_type_flags_mean_files_and_directories() {
    let bytes = HandMade::default()
        .block(HandMade::header(0, "v7", 2), b"v7")
        .block(HandMade::header(0, "v7folder/", 0), b"")
        .block(HandMade::header(b'7', "contiguous", 1), b"c")
        .end();
    let kinds: Vec<_> = read_all(&bytes).unwrap().iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::File, EntryKind::Directory, EntryKind::File]);
}

#[test]
fn links_and_directories_have_no_content_despite_their_size_field() {
    let bytes = HandMade::default()
        .block(HandMade::header(b'1', "link", 4000), b"")
        .block(HandMade::header(b'5', "folder/", 4000), b"")
        .file("next", "n")
        .end();
    assert_eq!(read_all(&bytes).unwrap()[2].1, b"n");
}

#[test]
fn old_gnu_sparse_maps_continue_in_extension_headers() {
    let segments: Vec<(u64, u64)> = (0..60).map(|at| (at * 1000, 1)).collect();
    let mut header = HandMade::header(b'S', "many", 60);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(60_000);
    gnu.isextended[0] = 1;
    for (slot, (offset, len)) in gnu.sparse.iter_mut().zip(&segments) {
        slot.set_offset(*offset);
        slot.set_length(*len);
    }
    let mut archive = HandMade::default().block(header, b"");
    for part in segments[4..].chunks(21) {
        let mut block = tar::GnuExtSparseHeader::new();
        for (slot, (offset, len)) in block.sparse_mut().iter_mut().zip(part) {
            slot.set_offset(*offset);
            slot.set_length(*len);
        }
        block.set_is_extended(part.last() != segments.last());
        archive = archive.raw(block.as_bytes());
    }
    let all = read_all(&archive.raw(&[b'x'; 60]).file("next", "n").end()).unwrap();
    let expected: Vec<u8> = (0..60_000).map(|at| if at % 1000 == 0 { b'x' } else { 0 }).collect();
    assert!(all[0].1 == expected);
    assert_eq!(all[1].1, b"n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read_all(&bytes);
    }

    /// With checksums made right again, so that damage gets past the first gate.
    #[test]
    fn a_mutated_archive_never_panics(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20)) {
        let mut bytes = rich();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        for at in (0..bytes.len()).step_by(512) {
            let block = &mut bytes[at..at + 512];
            if block[257..262] == *b"ustar" {
                let mut header = tar::Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let _ = read_all(&bytes);
    }
}
