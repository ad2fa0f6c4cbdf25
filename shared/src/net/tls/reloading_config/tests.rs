//! A configuration that is rebuilt when its key files change.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::super::authority::{Authority, Usage};
use super::super::key_sources::{KeySource, RenewedKeys};
use super::super::{Identity, server};
use super::*;

/// The configuration in these tests: the leaf certificate of the keys that it was built from.
type Leaf = CertificateDer<'static>;

/// The key files of a pod: the initial keys in files, renewed ones in numbered subdirectories.
struct Pod {
    directory: TempDir,
    authority: Authority,
}

impl Pod {
    fn new() -> Self {
        let pod =
            Self { directory: tempfile::tempdir().unwrap(), authority: Authority::new("test", 1).unwrap() };
        fs::create_dir(pod.path("renewed")).unwrap();
        pod.write("", &pod.issue());
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self) -> Identity {
        self.issue_for_days(1)
    }

    fn issue_for_days(&self, days: i64) -> Identity {
        self.authority.issue("server", &["localhost"], Usage::Server, days).unwrap()
    }

    /// Writes keys into a directory of the pod, which it creates. Returns the leaf.
    fn write(&self, directory: &str, identity: &Identity) -> Leaf {
        let directory = self.path(directory);
        fs::create_dir_all(&directory).unwrap();
        let chain: String =
            identity.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
        fs::write(directory.join("tls.crt"), chain).unwrap();
        fs::write(directory.join("tls.key"), pem("PRIVATE KEY", identity.key.secret_der())).unwrap();
        identity.chain[0].clone()
    }

    /// Writes a generation with a new certificate.
    fn renew(&self, generation: u8) -> Leaf {
        self.write(&format!("renewed/{generation}"), &self.issue())
    }

    fn start(&self) -> Result<Reloader<Leaf>, TlsConfigError> {
        let file = |name| KeySource::File { path: self.path(name), variable: "FILE".to_owned() };
        let initial = KeySet { chain: file("tls.crt"), key: file("tls.key"), authorities: None };
        let file_names = KeySet { chain: "tls.crt", key: "tls.key", authorities: None };
        let renewed = Some(RenewedKeys { directory: self.path("renewed"), file_names });
        let config = ReloadingConfig::from_keys(KeySources { initial, renewed }, |keys| {
            let identity = keys.identity()?;
            let leaf = identity.chain[0].clone();
            // Fails if the certificate and the key do not match.
            let _: Arc<ServerConfig> = server::config_without_client_auth(identity)?;
            Ok(Arc::new(leaf))
        })?;
        match Arc::into_inner(config.0) {
            Some(ConfigState::Reloading(reloader)) => Ok(*reloader),
            _ => panic!("it is reloading and has one owner"),
        }
    }
}

impl Reloader<Leaf> {
    /// The active configuration after a check.
    fn check_now(&self) -> Leaf {
        self.check(&mut self.lock_state(), OffsetDateTime::now_utc());
        (*self.lock_active().config).clone()
    }

    fn generation(&self) -> u8 {
        self.lock_state().generation
    }

    /// The generations that could not be used.
    fn skipped(&self) -> Vec<u8> {
        self.lock_state().reported.keys().copied().collect()
    }
}

/// The text of a PEM file.
fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let value = (0..3).fold(0, |sum, at| sum << 8 | usize::from(*group.get(at).unwrap_or(&0)));
            for at in 0..4 {
                let digit = char::from(DIGITS[value >> (18 - 6 * at) & 63]);
                text.push(if at <= group.len() { digit } else { '=' });
            }
        }
        text.push('\n');
    }
    writeln!(text, "-----END {label}-----").unwrap();
    text
}

#[test]
fn a_renewed_generation_is_used_after_the_next_check() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    let first = reloader.check_now();
    let second = pod.renew(1);
    assert_ne!(first, second);
    assert_eq!(reloader.check_now(), second);
    let third = pod.renew(3);
    assert_eq!((reloader.check_now(), reloader.generation()), (third, 3));
}

#[test]
fn a_restart_begins_with_the_newest_generation() {
    let pod = Pod::new();
    pod.renew(1);
    let second = pod.renew(2);
    let reloader = pod.start().unwrap();
    assert_eq!(*reloader.lock_active().config, second);
}

#[test]
fn files_that_are_replaced_in_place_are_read_again() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    let renewed = pod.write("", &pod.issue());
    assert_eq!(reloader.check_now(), renewed);
    let later = pod.renew(1);
    assert_eq!(reloader.check_now(), later);
    pod.write("", &pod.issue());
    assert_eq!(reloader.check_now(), later, "the initial keys are no longer used");
    let changed = pod.renew(1);
    assert_eq!(reloader.check_now(), changed, "a generation in place");
}

#[test]
fn a_change_that_keeps_size_and_times_is_detected() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    let times = fs::metadata(pod.path("tls.crt")).unwrap().modified().unwrap();
    let renewed = pod.write("", &pod.issue());
    for name in ["tls.crt", "tls.key"] {
        fs::File::options().write(true).open(pod.path(name)).unwrap().set_modified(times).unwrap();
    }
    assert_eq!(reloader.check_now(), renewed);
}

#[test]
fn a_swap_of_symbolic_links_by_the_kubelet_is_detected() {
    use std::os::unix::fs::symlink;
    let pod = Pod::new();
    let old = "renewed/..2026_1";
    let new = "renewed/..2026_2";
    let old_leaf = pod.write(&format!("{old}/1"), &pod.issue());
    symlink("..2026_1", pod.path("renewed/..data")).unwrap();
    symlink("..data/1", pod.path("renewed/1")).unwrap();
    let reloader = pod.start().unwrap();
    assert_eq!(*reloader.lock_active().config, old_leaf);
    pod.write(&format!("{new}/1"), &pod.issue());
    let new_leaf = pod.write(&format!("{new}/2"), &pod.issue());
    symlink("..2026_2", pod.path("renewed/..data_tmp")).unwrap();
    fs::rename(pod.path("renewed/..data_tmp"), pod.path("renewed/..data")).unwrap();
    fs::remove_dir_all(pod.path(old)).unwrap();
    symlink("..data/2", pod.path("renewed/2")).unwrap();
    assert_eq!((reloader.check_now(), reloader.generation()), (new_leaf, 2));
}

/// Writes a generation that is unusable for the reason `how`.
fn write_unusable(pod: &Pod, generation: u8, how: &str) {
    let directory = format!("renewed/{generation}");
    pod.renew(generation);
    let file = |name: &str| pod.path(&directory).join(name);
    match how {
        "no key" => fs::remove_file(file("tls.key")).unwrap(),
        "half of a certificate" => {
            let whole = fs::read(file("tls.crt")).unwrap();
            fs::write(file("tls.crt"), &whole[..whole.len() / 4]).unwrap();
        }
        "nothing in it" => fs::write(file("tls.crt"), "").unwrap(),
        "the key of another" => {
            fs::write(file("tls.key"), pem("PRIVATE KEY", pod.issue().key.secret_der())).unwrap();
        }
        "huge" => fs::File::create(file("tls.crt")).unwrap().set_len(1 << 40).unwrap(),
        "a pipe" => {
            fs::remove_file(file("tls.key")).unwrap();
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, file("tls.key"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        }
        "a directory" => {
            fs::remove_file(file("tls.key")).unwrap();
            fs::create_dir(file("tls.key")).unwrap();
        }
        "binary" => fs::write(file("tls.crt"), [0xff; 5000]).unwrap(),
        "a link to itself" => {
            fs::remove_file(file("tls.crt")).unwrap();
            std::os::unix::fs::symlink("tls.crt", file("tls.crt")).unwrap();
        }
        "no DER" => {
            let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            fs::write(file("tls.crt"), text).unwrap();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_generation_that_cannot_be_used_is_skipped_and_the_previous_one_stays() {
    for how in [
        "no key",
        "half of a certificate",
        "nothing in it",
        "the key of another",
        "huge",
        "a pipe",
        "a directory",
        "binary",
        "a link to itself",
        "no DER",
    ] {
        let pod = Pod::new();
        let reloader = pod.start().unwrap();
        let good = pod.renew(1);
        write_unusable(&pod, 2, how);
        assert_eq!((reloader.check_now(), reloader.generation()), (good.clone(), 1), "{how}");
        assert_eq!(reloader.skipped(), [2], "{how}");
        // The same holds for a pod that starts now.
        assert_eq!(*pod.start().unwrap().lock_active().config, good, "{how}");
        let completed = pod.write("renewed/4", &pod.issue());
        assert_eq!(reloader.check_now(), completed, "{how}");
    }
}

#[test]
fn a_generation_is_used_once_it_is_complete() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    write_unusable(&pod, 1, "no key");
    reloader.check_now();
    assert_eq!(reloader.generation(), 0);
    let whole = pod.renew(1);
    assert_eq!(reloader.check_now(), whole);
    assert!(reloader.skipped().is_empty());
}

#[test]
fn removed_or_damaged_files_do_not_change_the_keys_in_use() {
    let pod = Pod::new();
    pod.renew(1);
    let used = pod.renew(2);
    let reloader = pod.start().unwrap();
    write_unusable(&pod, 2, "no key");
    assert_eq!(reloader.check_now(), used);
    fs::remove_dir_all(pod.path("renewed/2")).unwrap();
    assert_eq!(reloader.check_now(), used);
    fs::remove_dir_all(pod.path("renewed")).unwrap();
    fs::remove_file(pod.path("tls.key")).unwrap();
    assert_eq!(reloader.check_now(), used);
}

#[test]
fn a_start_fails_without_the_initial_keys_even_if_renewed_ones_exist() {
    let pod = Pod::new();
    pod.renew(1);
    fs::remove_file(pod.path("tls.key")).unwrap();
    let error = pod.start().err().unwrap();
    assert!(error.0.starts_with("FILE: cannot read") && error.0.contains("tls.key"), "{error}");
}

#[test]
fn many_connections_cause_one_check_a_second() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    let checked_at = reloader.lock_state().checked_at;
    let first = reloader.current();
    pod.renew(1);
    loop {
        let config = reloader.current();
        if checked_at.elapsed() >= CHECK_INTERVAL {
            break;
        }
        assert!(Arc::ptr_eq(&config, &first));
    }
    while reloader.lock_state().checked_at == checked_at {
        reloader.current();
    }
    assert_eq!(reloader.generation(), 1);
}

#[test]
fn a_connection_does_not_wait_for_the_check_of_another_one() {
    let pod = Pod::new();
    let reloader = pod.start().unwrap();
    let first = reloader.current();
    let mut state = reloader.lock_state();
    state.checked_at = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
    assert!(Arc::ptr_eq(&reloader.current(), &first));
}

#[test]
fn the_message_about_an_expired_certificate_names_it_and_its_end_and_the_remedy() {
    let pod = Pod::new();
    pod.write("", &pod.issue_for_days(-1));
    let reloader = pod.start().unwrap();
    let message = reloader.expiry_message(OffsetDateTime::now_utc()).unwrap();
    let day = (OffsetDateTime::now_utc() - time::Duration::days(1)).date().to_string();
    for part in
        [&*pod.path("tls.crt").display().to_string(), "FILE", "expired at", &day, "DECANT_RENEWED_KEYS"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(reloader.lock_state().expiry_is_reported);
    pod.renew(1);
    reloader.check_now();
    assert_eq!(reloader.expiry_message(OffsetDateTime::now_utc()), None);
}

#[test]
fn the_remedy_without_a_directory_for_renewed_keys_depends_on_the_source() {
    let file =
        KeySource::File { path: Path::new("/x/tls.crt").to_owned(), variable: "TLS_CERT_FILE".to_owned() };
    let text = KeySource::Variable { text: String::new(), variable: "CLIENT_CERT".to_owned() };
    for (source, part) in
        [(file, "write a new certificate to /x/tls.crt"), (text, "a new certificate in CLIENT_CERT")]
    {
        let initial = KeySet { chain: source.clone(), key: source, authorities: None };
        let remedy = KeySources { initial, renewed: None }.remedy();
        assert!(remedy.contains(part), "{remedy}");
    }
}
