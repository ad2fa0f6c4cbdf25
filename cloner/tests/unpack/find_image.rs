//! The disk image in an archive.

use decant_cloner::error::{Error, Kind, Result};
use decant_cloner::tar::reader::ArchiveReader;
use decant_cloner::volume::image::in_archive::{FoundImage, ImageSink, find_image};
use decant_shared::process::stop::Stop;
use decant_test_support::archive::HandMade;
use decant_test_support::trees::{output, sparse};

/// Collects an image and checks the order it comes in.
#[derive(Default)]
struct Collected {
    size_bytes: Option<u64>,
    content: Vec<u8>,
    zero_bytes: u64,
}

impl ImageSink for Collected {
    fn begin(&mut self, size_bytes: u64) -> Result<()> {
        assert!(self.size_bytes.replace(size_bytes).is_none());
        Ok(())
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        assert_eq!(offset, self.content.len() as u64);
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        assert_eq!(offset, self.content.len() as u64);
        self.zero_bytes += len;
        self.content.resize(self.content.len() + usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn kept(&mut self, _: u64, _: u64) -> Result<()> {
        panic!("nothing is kept")
    }
}

fn find(mut archive: &[u8]) -> (Result<FoundImage, Error>, Collected, usize) {
    let mut sink = Collected::default();
    let result = find_image(&mut ArchiveReader::new(&mut archive), &mut sink, &Stop::new());
    (result, sink, archive.len())
}

#[test]
fn a_sparse_image_is_complete_and_the_stream_is_drained() {
    let source = tempfile::tempdir().unwrap();
    for at in 0..9_u64 {
        sparse(&source.path().join("disk.img"), 8 << 20, at * 900_000, format!("island {at}").as_bytes());
    }
    std::fs::write(source.path().join("other"), "x").unwrap();
    let expected = std::fs::read(source.path().join("disk.img")).unwrap();
    for format in ["--format=gnu", "--format=posix"] {
        for names in [&["disk.img", "other"][..], &["."]] {
            let archive = output("tar", &[&["-cSf", "-", format], names].concat(), source.path());
            let (result, sink, left) = find(&archive);
            assert_eq!(result.unwrap(), FoundImage { size_bytes: 8 << 20, skipped: 1 });
            assert!(sink.content == expected && sink.size_bytes == Some(8 << 20));
            assert!(sink.zero_bytes > 7 << 20, "holes are told as holes");
            assert_eq!(left, 0, "drained");
        }
    }
}

#[test]
fn only_a_regular_file_with_the_exact_name_is_the_image() {
    let archive = HandMade::default()
        .file("old-disk.img.bak", "1")
        .file("sub/disk.img", "2")
        .directory("disk.img.d/")
        .file("./disk.img", "image")
        .end();
    let (result, sink, _) = find(&archive);
    assert_eq!(result.unwrap(), FoundImage { size_bytes: 5, skipped: 3 });
    assert_eq!(sink.content, b"image");
}

#[test]
fn a_missing_image_is_reported_with_cdis_text() {
    let none = [
        HandMade::default(),
        HandMade::default().directory("./"),
        HandMade::default().file("disk.img.bak", "x"),
        HandMade::default().directory("disk.img/"),
        HandMade::default().symlink("disk.img", "/dev/sda"),
    ];
    for archive in none {
        let (result, sink, left) = find(&archive.end());
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(error.to_string().contains("no disk image found in tar"), "{error}");
        assert!(sink.size_bytes.is_none());
        assert_eq!(left, 0);
    }
}

#[test]
fn other_members_are_limited_to_64_tib_in_total() {
    const TIB: u64 = 1 << 40;
    let most = HandMade::default().sparse("a", 40 * TIB, &[], b"").file("disk.img", "image");
    let most = most.sparse("b", 24 * TIB, &[], b"");
    assert_eq!(find(&most.clone().end()).0.unwrap().skipped, 2);
    let error = find(&most.sparse("c", 1, &[], b"").end()).0.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("more than 70368744177664 bytes"), "{error}");
    let huge = HandMade::default().sparse("huge", 1 << 62, &[], b"").file("disk.img", "image");
    assert_eq!(find(&huge.end()).0.unwrap_err().kind(), Kind::Damaged);
}

#[test]
fn a_truncated_or_ambiguous_archive_is_damage_even_after_the_image() {
    let archive = HandMade::default().file("disk.img", "image").file("other", "x");
    let whole = archive.clone().end();
    for len in [513, 1024, 1500, 2048] {
        assert_eq!(find(&whole[..len]).0.unwrap_err().kind(), Kind::Damaged);
    }
    let twice = archive.file("./disk.img", "another").end();
    assert!(find(&twice).0.unwrap_err().to_string().contains("twice"));
}
