//! The request of a clone without faults (docs/protocol.md sections 1.8 to 1.11).

use std::fs;

use decant_test_support::certificates::Pki;
use decant_test_support::disks::LoopDevice;
use decant_test_support::noise;

use super::image::Image;
use super::process::Source;
use super::target::{Body, Head, Target};

/// A target that takes everything.
pub(crate) fn good_target(pki: &Pki) -> Target<(Head, Body)> {
    Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        let received = (connection.head(), connection.body());
        connection.answer(200, "");
        connection.close_notify();
        received
    })
}

#[test]
fn the_request_head_matches_the_contract() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let image = Image::with(b"content");
    let host = target.url.split('/').nth(2).unwrap().to_owned();
    Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
    let (head, _) = target.join();
    assert_eq!(head.request_line, "POST /v1beta1/upload HTTP/1.1");
    assert_eq!(head.get("Host"), Some(host.as_str()));
    assert_eq!(head.get("Transfer-Encoding"), Some("chunked"));
    assert_eq!(head.get("x-cdi-content-type"), Some("blockdevice-clone"));
    assert_eq!(head.get("x-decant-length"), Some("7"));
    for absent in ["Content-Length", "Expect", "Content-Type", "Content-Encoding", "Authorization"] {
        assert_eq!(head.get(absent), None, "{absent}");
    }
}

#[test]
fn a_cdi_target_gets_one_connection() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let image = Image::hole(256 << 20);
    let ended = Source::new(&pki, &target.url).block(&image.path()).args(&["--streams", "4"]).run();
    ended.assert_done();
    assert!(ended.log.iter().any(|line| line.contains("over one connection only")), "{ended:?}");
    let (head, body) = target.join();
    assert_eq!((head.get("x-decant-stream"), head.get("Expect")), (None, None));
    assert_eq!(body.content().len(), 256 << 20);
}

#[test]
fn path_and_query_of_the_upload_url_are_sent_as_given() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let url = target.url.replace("/v1beta1/upload", "/v1alpha1/upload?a=%20b");
    let image = Image::with(b"content");
    Source::new(&pki, &url).block(&image.path()).run().assert_done();
    assert_eq!(target.join().0.request_line, "POST /v1alpha1/upload?a=%20b HTTP/1.1");
}

#[test]
fn the_body_of_a_file_is_its_whole_content() {
    for len in [0, 1, 65_535, 65_536, 65_537, (4 << 20) + 3] {
        let pki = Pki::new();
        let target = good_target(&pki);
        let content = noise(len, 7);
        let image = Image::with(&content);
        Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
        assert!(target.join().1.content() == content, "{len} bytes");
    }
}

#[test]
fn holes_of_a_file_are_sent_as_zeros() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let image = Image::hole(20 << 20);
    let file = fs::File::options().write(true).open(image.path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"island", 5 << 20).unwrap();
    Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
    assert!(target.join().1.content() == fs::read(image.path()).unwrap());
}

#[test]
fn the_body_of_a_block_device_is_its_content() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let image = Image::with(&noise(3 << 20, 8));
    let device = LoopDevice::on(&image.path());
    Source::new(&pki, &target.url).block(&device.0).run().assert_done();
    let (head, body) = target.join();
    assert_eq!(head.get("x-decant-length"), Some("3145728"));
    assert!(body.content() == fs::read(image.path()).unwrap());
}

#[test]
fn flags_of_cdis_startup_script_work_with_one_and_two_dashes() {
    for dash in ["-", "--"] {
        let pki = Pki::new();
        let target = good_target(&pki);
        let image = Image::with(b"by flags");
        let path = image.path();
        let raw_text = [
            &format!("{dash}v=3"),
            &format!("{dash}alsologtostderr"),
            &format!("{dash}content-type"),
            "blockdevice-clone",
            &format!("{dash}upload-bytes=9"),
            &format!("{dash}mount={}", path.display()),
        ];
        Source::new(&pki, &target.url).args(&raw_text).run().assert_done();
        assert_eq!(target.join().1.content(), b"by flags", "{dash}");
    }
}

#[test]
fn applied_preallocation_is_in_the_termination_message() {
    let pki = Pki::new();
    let target = good_target(&pki);
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("PREALLOCATION", "true").run();
    let is_word = ended.termination_message.starts_with("Clone Complete, Preallocation applied; decant1:");
    assert!(ended.code == Some(0) && is_word, "{ended:#?}");
}

#[test]
fn any_2xx_is_a_success() {
    for status in [201, 204, 299] {
        let pki = Pki::new();
        let target = Target::start(pki.server(), move |server| {
            let mut connection = server.accept();
            connection.head();
            connection.body();
            connection.send(&format!("HTTP/1.1 {status} Fine\r\n\r\n"));
            connection.close_notify();
        });
        let image = Image::with(b"content");
        Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
    }
}
