//! Configuration errors: each is one line that names the cause, with its own exit code.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use decant_test_support::certificates::{Pki, pem};

use super::image::Image;
use super::process::Source;

/// Nothing listens there: the errors of these tests occur earlier.
const URL: &str = "https://127.0.0.1:9/v1beta1/upload";

fn source(image: &Image) -> Source {
    Source::new(&Pki::new(), URL).block(&image.path())
}

#[test]
fn a_missing_source_is_named() {
    let nowhere = Path::new("/nowhere/disk.img");
    let found = "cannot find /nowhere/disk.img: No such file or directory";
    Source::new(&Pki::new(), URL).block(nowhere).run().assert_failed(3, &[found]);
    let found = "cannot open the directory /nowhere/disk.img: No such file or directory";
    Source::new(&Pki::new(), URL).filesystem(nowhere).run().assert_failed(3, &[found]);
}

#[test]
fn an_unreadable_source_is_named() {
    let image = Image::with(b"secret");
    fs::set_permissions(image.path(), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(image.directory.path(), Permissions::from_mode(0o755)).unwrap();
    // A user other than root; the current user if that is not root.
    let mut source = source(&image).without("DECANT_TERMINATION_LOG");
    if rustix::process::geteuid().is_root() {
        source.command.uid(65_534).gid(65_534);
    }
    let ended = source.run();
    let error = ended.log.last().unwrap();
    assert!(error.contains("disk.img: Permission denied"), "{error}");
    assert_eq!(ended.code, Some(3));
}

#[test]
fn a_directory_instead_of_a_device_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Source::new(&Pki::new(), URL).block(directory.path()).run();
    ended.assert_failed(3, &[directory.path().to_str().unwrap(), "is a directory"]);
}

#[test]
fn a_file_instead_of_a_directory_is_named() {
    let image = Image::with(b"content");
    let ended = Source::new(&Pki::new(), URL).filesystem(&image.path()).run();
    ended.assert_failed(3, &[image.path().to_str().unwrap(), "is not a directory"]);
}

#[test]
fn an_unknown_content_type_is_shown_with_the_known_ones() {
    let ended = source(&Image::with(b"x")).args(&["-content-type", "kubevirt"]).run();
    ended.assert_failed(2, &["invalid content-type \"kubevirt\"", "filesystem-clone or blockdevice-clone"]);
}

#[test]
fn each_missing_variable_is_named() {
    for name in ["UPLOAD_URL", "CLIENT_KEY", "CLIENT_CERT", "SERVER_CA_CERT", "MOUNT_POINT", "VOLUME_MODE"] {
        let image = Image::with(b"content");
        let empty = source(&image).env(name, "").run();
        empty.assert_failed(2, &[name, "is not set"]);
        let absent = source(&image).without(name).args(&["source"]).run();
        absent.assert_failed(2, &[name, "is not set"]);
    }
}

#[test]
fn a_clone_without_an_owner_uid_succeeds() {
    let (pki, image) = (Pki::new(), Image::with(b"content"));
    let target = super::request::good_target(&pki);
    let ended = Source::new(&pki, &target.url).block(&image.path()).without("OWNER_UID").run();
    target.join();
    ended.assert_done();
    assert!(ended.log.iter().any(|line| line.contains("WARN  OWNER_UID is not set")), "{ended:#?}");
}

#[test]
fn without_a_request_nothing_is_preallocated() {
    let (pki, image) = (Pki::new(), Image::with(b"content"));
    let target = super::request::good_target(&pki);
    Source::new(&pki, &target.url).block(&image.path()).without("PREALLOCATION").run().assert_done();
    target.join();
}

#[test]
fn an_invalid_upload_url_is_shown() {
    for url in ["http://127.0.0.1:9/v1beta1/upload", "127.0.0.1", "https://", "https://x:port/"] {
        let ended = source(&Image::with(b"x")).env("UPLOAD_URL", url).run();
        ended.assert_failed(2, &[&format!("UPLOAD_URL is {url:?}")]);
    }
}

#[test]
fn damaged_keys_and_certificates_are_named() {
    let rubbish = pem("CERTIFICATE", b"not DER at all");
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for (name, value, why) in [
        ("CLIENT_KEY", "a key", "CLIENT_KEY contains no PEM private key"),
        ("CLIENT_CERT", "a certificate", "CLIENT_CERT contains no PEM certificate"),
        ("SERVER_CA_CERT", "an authority", "SERVER_CA_CERT contains no PEM certificate"),
        ("CLIENT_CERT", cut, "CLIENT_CERT"),
        ("SERVER_CA_CERT", cut, "SERVER_CA_CERT"),
        ("CLIENT_CERT", &rubbish, "client certificate"),
        ("SERVER_CA_CERT", &rubbish, "certificate 1 in SERVER_CA_CERT is not an authority"),
    ] {
        source(&Image::with(b"x")).env(name, value).run().assert_failed(7, &[why]);
    }
}

#[test]
fn a_client_key_that_does_not_match_its_certificate_is_refused() {
    let ended = source(&Image::with(b"x")).env("CLIENT_KEY", Pki::new().client_key_pem).run();
    ended.assert_failed(7, &["cannot use the client certificate and its key"]);
}

#[test]
fn without_a_command_the_usage_is_shown() {
    let ended = source(&Image::with(b"x")).without("UPLOAD_URL").run();
    assert_eq!(ended.code, Some(2));
    assert!(ended.log.iter().any(|line| line.starts_with("Usage: cloner ")), "{ended:#?}");
}

#[test]
fn an_unknown_flag_is_shown() {
    let ended = source(&Image::with(b"x")).args(&["--colour"]).run();
    assert_eq!(ended.code, Some(2));
    assert!(ended.log[0].contains("--colour"), "{ended:#?}");
}
