//! Hostile archives, streams and filesystems: nothing outside the target changes, and after a failure
//! nothing inside either.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::unpacking::unpack;
use decant_cloner::error::{Error, Kind, Result};
use decant_cloner::stream::{Piece, Pull};
use decant_cloner::volume::layout::STAGING_NAME;
use decant_cloner::volume::tree::write::UnpackOptions;
use decant_cloner::volume::tree::write::unpack_tree;
use decant_shared::process::stop::Stop;
use decant_test_support::archive::HandMade;
use decant_test_support::trees::{assert_same, describe, output};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

/// A target directory with things in it, next to things that must never change.
struct UnpackTest {
    scratch: TempDir,
    outside: BTreeMap<PathBuf, String>,
    inside: BTreeMap<PathBuf, String>,
}

impl UnpackTest {
    fn new() -> Self {
        let scratch = tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("outside/folder")).unwrap();
        fs::create_dir_all(at("target/folder")).unwrap();
        fs::write(at("outside/file"), "outside").unwrap();
        fs::write(at("target/file"), "inside").unwrap();
        symlink(at("outside/folder"), at("target/out")).unwrap();
        symlink(at("outside/file"), at("target/out-file")).unwrap();
        let mut world = Self { outside: BTreeMap::new(), inside: BTreeMap::new(), scratch };
        world.outside = describe(&world.outside_path(), true);
        world.inside = describe(&world.target(), true);
        world
    }

    fn target(&self) -> PathBuf {
        self.scratch.path().join("target")
    }

    fn outside_path(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    fn assert_outside_untouched(&self, what: &str) {
        assert_same(&self.outside, &describe(&self.outside_path(), true), what);
        let names = fs::read_dir(self.scratch.path()).unwrap().count();
        assert_eq!(names, 2, "{what}: nothing beside the target");
    }

    fn assert_untouched(&self, what: &str) {
        self.assert_outside_untouched(what);
        assert_same(&self.inside, &describe(&self.target(), true), what);
    }

    /// Unpacks what must be refused.
    fn refuse(&self, archive: &[u8], what: &str) -> Error {
        let error = unpack(archive, &self.target()).expect_err(what);
        self.assert_untouched(what);
        error
    }
}

#[test]
fn members_outside_the_target_are_refused_by_name_and_change_nothing() {
    let world = UnpackTest::new();
    let outside = world.outside_path();
    let (directory, file) = (outside.join("folder"), outside.join("file"));
    let (directory, file) = (directory.to_str().unwrap(), file.to_str().unwrap());
    let ok = HandMade::default().file("fine", "fine");
    let hostile = [
        ("..", ok.clone().directory("..")),
        ("../x", ok.clone().file("../x", "bad")),
        ("a/../../x", ok.clone().file("a/../../x", "bad")),
        ("/../x", ok.clone().file("/../x", "bad")),
        ("link/x", ok.clone().symlink("link", directory).file("link/x", "bad")),
        ("a/up/x", ok.clone().directory("a/").symlink("a/up", "../..").file("a/up/x", "bad")),
        ("two/x", ok.clone().symlink("one", directory).symlink("two", "one").file("two/x", "bad")),
        ("link/sub/", ok.clone().symlink("link", directory).directory("link/sub/")),
        ("file/x", ok.clone().file("file", "").file("file/x", "bad")),
        ("hard1", ok.clone().hard_link("hard1", "../outside/file").file("hard1", "bad")),
        ("hard2", ok.clone().hard_link("hard2", file).file("hard2", "bad")),
        ("hard3", ok.clone().symlink("link", directory).hard_link("hard3", "link/../file")),
        ("hard4", ok.clone().symlink("link", outside.to_str().unwrap()).hard_link("hard4", "link/file")),
        ("hard5", ok.clone().hard_link("hard5", "out-file")),
        ("hard6", ok.clone().directory("f/").hard_link("hard6", "f")),
        ("hard7", ok.clone().hard_link("hard7", "hard7")),
        ("hard8", ok.clone().hard_link("hard8", "./")),
        (".decant-partial", ok.clone().directory(".decant-partial/")),
        (".decant-partial/new/x", ok.clone().file("./.decant-partial/new/x", "bad")),
        ("empty-link", ok.clone().symlink("empty-link", "")),
        ("full/", ok.clone().directory("full/").file("full/x", "").file("full", "bad")),
        ("./", ok.clone().symlink("./", "x")),
        ("", ok.clone().file("", "bad")),
        ("pax", ok.clone().pax(b'x', &[("path", "../pax")]).file("x", "bad")),
        ("global", ok.clone().pax(b'g', &[("path", "global/../../x")]).file("x", "bad")),
    ];
    for (name, archive) in hostile {
        let error = world.refuse(&archive.end(), name);
        assert_eq!(error.kind(), Kind::Damaged, "{name}: {error}");
        let named = name.trim_end_matches('/');
        assert!(error.to_string().contains(named), "{name}: {error}");
    }
}

#[test]
fn skipped_members_are_limited_to_64_tib_in_total() {
    const TIB: u64 = 1 << 40;
    let hole = |archive: HandMade, name, bytes| archive.sparse(name, bytes, &[], b"");
    let ok = HandMade::default().file("fine", "fine");
    for bytes in [1 << 62, (1 << 63) - 1] {
        let error =
            UnpackTest::new().refuse(&hole(ok.clone(), "lost+found/huge", bytes).end(), "a skipped member");
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
        assert!(error.to_string().contains("lost+found/huge"), "{error}");
    }
    let most = hole(hole(ok, "lost+found/a", 40 * TIB), "lost+found/b", 24 * TIB);
    let error = UnpackTest::new().refuse(&hole(most.clone(), "lost+found/c", 1).end(), "their sum");
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    assert!(error.to_string().contains("lost+found/c"), "{error}");
    assert_eq!(unpack(&most.end(), &UnpackTest::new().target()).unwrap().skipped, 2);
}

#[test]
fn absolute_names_and_existing_symlinks_do_not_lead_outside() {
    let world = UnpackTest::new();
    let archive = HandMade::default()
        .file("/etc/passwd", "inside")
        .file("out/x", "replaces the symlink")
        .file("out-file", "replaces the symlink")
        .symlink("hard-to-symlink", "/etc/shadow")
        .hard_link("second", "hard-to-symlink")
        .end();
    unpack(&archive, &world.target()).unwrap();
    world.assert_outside_untouched("absolute names");
    let read = |name: &str| fs::read_to_string(world.target().join(name)).unwrap();
    assert_eq!((read("etc/passwd").as_str(), read("out/x").as_str()), ("inside", "replaces the symlink"));
    assert_eq!(fs::read_link(world.target().join("second")).unwrap(), Path::new("/etc/shadow"));
}

#[test]
fn a_truncated_archive_changes_nothing() {
    let world = UnpackTest::new();
    let tree = tempdir().unwrap();
    fs::write(tree.path().join("file"), "new").unwrap();
    fs::create_dir(tree.path().join("folder")).unwrap();
    fs::write(tree.path().join("folder/x"), [1; 3000]).unwrap();
    let whole = output("tar", &["-cf", "-", "file", "folder"], tree.path());
    let end = 512 * 2 + 512 + 512 + 3072;
    for len in (1..=end).step_by(256).chain((512..=end).step_by(512)) {
        let error = world.refuse(&whole[..len], "cut");
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
    }
    unpack(&whole[..end + 512], &world.target()).unwrap();
}

#[test]
fn a_stream_error_is_returned_unchanged() {
    struct FailingStream<'a>(&'a [u8]);
    impl Pull for FailingStream<'_> {
        fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
            if self.0.is_empty() {
                return Err(Error::new(Kind::HungUp, "the source hung up"));
            }
            self.0.next_piece(max_bytes)
        }
    }
    let world = UnpackTest::new();
    let archive = HandMade::default().file("file", &"x".repeat(5000)).end();
    let target = File::open(world.target()).unwrap();
    for len in [0, 512, 3000, archive.len()] {
        let mut stream = FailingStream(&archive[..len]);
        let options = UnpackOptions::default();
        let error = unpack_tree(&mut stream, &target, &world.target(), options, &Stop::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::HungUp);
        world.assert_untouched("broken stream");
    }
}

#[test]
fn a_stop_takes_effect_within_1_mib_and_changes_nothing() {
    /// Asks for a stop at some point, and counts what is taken afterwards.
    struct StoppingStream<'a> {
        head: &'a [u8],
        stop: Stop,
        after: u64,
    }
    impl Pull for StoppingStream<'_> {
        fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
            if !self.head.is_empty() {
                return self.head.next_piece(max_bytes);
            }
            self.stop.by_signal(15);
            self.after += max_bytes;
            Ok(Some(Piece::Zeros(max_bytes)))
        }
    }
    let world = UnpackTest::new();
    let head = HandMade::default().file("a", "a").block(HandMade::header(b'0', "file", 1 << 33), b"").0;
    let stop = Stop::new();
    let mut stream = StoppingStream { head: &head, stop: stop.clone(), after: 0 };
    let target = File::open(world.target()).unwrap();
    let options = UnpackOptions::default();
    let error = unpack_tree(&mut stream, &target, &world.target(), options, &stop).unwrap_err();
    assert_eq!(error.kind(), Kind::Signal(15));
    assert!(stream.after <= 1 << 20, "{}", stream.after);
    world.assert_untouched("stop");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Names, types, sizes, links and maps of a real archive changed at random, with right checksums.
    #[test]
    fn a_mutated_archive_never_writes_outside(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..12),
        swaps in proptest::collection::vec((0_usize..8, 0_usize..8), 0..3),
    ) {
        let mut archive = HandMade::default()
            .directory("folder/")
            .file("folder/x", "some content")
            .symlink("out", "../outside")
            .symlink("out-file", "../outside/file")
            .hard_link("again", "folder/x")
            .file("nut/x", "x")
            .sparse("sparse", 9000, &[(4096, 2)], b"ab")
            .directory("last/")
            .end();
        // Only the header's meaningful bytes: most others do nothing.
        let headers: Vec<usize> =
            (0..archive.len()).step_by(512).filter(|&at| archive[at + 257..].starts_with(b"ustar")).collect();
        for (at, byte) in changes {
            let place = headers[at % headers.len()];
            let offset = [at / 7 % 20, 156, 157 + at / 7 % 20, 124 + at / 7 % 12, 386 + at / 7 % 100][at / 3 % 5];
            let useful = b"./01256S\0\0xoutfile";
            archive[place + offset] = if byte < 200 { useful[usize::from(byte) % useful.len()] } else { byte };
        }
        for (from, to) in swaps {
            let name = archive[headers[from]..headers[from] + 100].to_vec();
            archive[headers[to]..headers[to] + 100].copy_from_slice(&name);
        }
        for at in headers {
            let mut header = tar::Header::from_byte_slice(&archive[at..at + 512]).clone();
            header.set_cksum();
            archive[at..at + 512].copy_from_slice(header.as_bytes());
        }
        let world = UnpackTest::new();
        match unpack(&archive, &world.target()) {
            Ok(_) => world.assert_outside_untouched("mutated"),
            Err(_) => world.assert_untouched("mutated"),
        }
        prop_assert!(!world.target().join(STAGING_NAME).exists());
    }
}
