use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::super::authority::{Authority, Usage};
use super::super::places::{Place, RenewedKeys};
use super::super::{Identity, server};
use super::*;

/// What a configuration was built from: the leaf, where the key belongs to it.
type Leaf = CertificateDer<'static>;

/// A folder as a pod has it: the first keys in files, renewed ones in numbered subdirectories.
struct Pod {
    folder: TempDir,
    authority: Authority,
}

impl Pod {
    fn new() -> Self {
        let pod =
            Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("test", 1).unwrap() };
        fs::create_dir(pod.path("renewed")).unwrap();
        pod.write("", &pod.issue());
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self) -> Identity {
        self.issue_for_days(1)
    }

    fn issue_for_days(&self, days: i64) -> Identity {
        self.authority.issue("server", &["localhost"], Usage::Server, days).unwrap()
    }

    /// Writes keys into a folder of the pod, which is made. Returns its leaf.
    fn write(&self, folder: &str, identity: &Identity) -> Leaf {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let chain: String =
            identity.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
        fs::write(folder.join("tls.crt"), chain).unwrap();
        fs::write(folder.join("tls.key"), pem("PRIVATE KEY", identity.key.secret_der())).unwrap();
        identity.chain[0].clone()
    }

    /// Writes a generation with a new certificate.
    fn renew(&self, generation: u8) -> Leaf {
        self.write(&format!("renewed/{generation}"), &self.issue())
    }

    fn start(&self) -> Result<Followed<Leaf>, Unusable> {
        let file = |name| Place::File { path: self.path(name), variable: "FILE".to_owned() };
        let first = KeySet { chain: file("tls.crt"), key: file("tls.key"), authorities: None };
        let names = KeySet { chain: "tls.crt", key: "tls.key", authorities: None };
        let renewed = Some(RenewedKeys { folder: self.path("renewed"), names });
        let current = Current::following(Places { first, renewed }, |keys| {
            let identity = keys.identity()?;
            let leaf = identity.chain[0].clone();
            // Fails where they do not belong together.
            let _: Arc<ServerConfig> = server::config_for_anyone(identity)?;
            Ok(Arc::new(leaf))
        })?;
        match Arc::into_inner(current.0) {
            Some(Kept::Followed(followed)) => Ok(*followed),
            _ => panic!("it is followed, and by one alone"),
        }
    }
}

impl Followed<Leaf> {
    /// What is used after a look.
    fn looked(&self) -> Leaf {
        self.look(&mut self.lock_look(), OffsetDateTime::now_utc());
        (*self.lock_used().config).clone()
    }

    fn generation(&self) -> u8 {
        self.lock_look().generation
    }

    /// The generations that could not be used.
    fn skipped(&self) -> Vec<u8> {
        self.lock_look().complaints.keys().copied().collect()
    }
}

/// The text that a PEM file holds.
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
fn a_renewed_generation_is_used_from_the_next_look_on() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    let first = followed.looked();
    let second = pod.renew(1);
    assert_ne!(first, second);
    assert_eq!(followed.looked(), second);
    let third = pod.renew(3);
    assert_eq!((followed.looked(), followed.generation()), (third, 3));
}

#[test]
fn an_end_that_starts_again_begins_with_the_newest_generation() {
    let pod = Pod::new();
    pod.renew(1);
    let second = pod.renew(2);
    let followed = pod.start().unwrap();
    assert_eq!(*followed.lock_used().config, second);
}

#[test]
fn files_that_are_replaced_in_place_are_read_again() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    let renewed = pod.write("", &pod.issue());
    assert_eq!(followed.looked(), renewed);
    let later = pod.renew(1);
    assert_eq!(followed.looked(), later);
    pod.write("", &pod.issue());
    assert_eq!(followed.looked(), later, "the first keys do not count any more");
    let changed = pod.renew(1);
    assert_eq!(followed.looked(), changed, "a generation in place");
}

#[test]
fn a_change_that_leaves_size_and_times_as_they_were_is_seen() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    let times = fs::metadata(pod.path("tls.crt")).unwrap().modified().unwrap();
    let renewed = pod.write("", &pod.issue());
    for name in ["tls.crt", "tls.key"] {
        fs::File::options().write(true).open(pod.path(name)).unwrap().set_modified(times).unwrap();
    }
    assert_eq!(followed.looked(), renewed);
}

#[test]
fn a_swap_of_symbolic_links_as_the_kubelet_does_it_is_seen() {
    use std::os::unix::fs::symlink;
    let pod = Pod::new();
    let (old, new) = ("renewed/..2026_1", "renewed/..2026_2");
    let before = pod.write(&format!("{old}/1"), &pod.issue());
    symlink("..2026_1", pod.path("renewed/..data")).unwrap();
    symlink("..data/1", pod.path("renewed/1")).unwrap();
    let followed = pod.start().unwrap();
    assert_eq!(*followed.lock_used().config, before);
    pod.write(&format!("{new}/1"), &pod.issue());
    let after = pod.write(&format!("{new}/2"), &pod.issue());
    symlink("..2026_2", pod.path("renewed/..data_tmp")).unwrap();
    fs::rename(pod.path("renewed/..data_tmp"), pod.path("renewed/..data")).unwrap();
    fs::remove_dir_all(pod.path(old)).unwrap();
    symlink("..data/2", pod.path("renewed/2")).unwrap();
    assert_eq!((followed.looked(), followed.generation()), (after, 2));
}

/// Writes a generation that is of no use, for this reason.
fn spoil(pod: &Pod, generation: u8, how: &str) {
    let folder = format!("renewed/{generation}");
    pod.renew(generation);
    let file = |name: &str| pod.path(&folder).join(name);
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
            let (mode, kind) = (rustix::fs::Mode::RWXU, rustix::fs::FileType::Fifo);
            rustix::fs::mknodat(rustix::fs::CWD, file("tls.key"), kind, mode, 0).unwrap();
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
        let followed = pod.start().unwrap();
        let good = pod.renew(1);
        spoil(&pod, 2, how);
        assert_eq!((followed.looked(), followed.generation()), (good.clone(), 1), "{how}");
        assert_eq!(followed.skipped(), [2], "{how}");
        // A pod that is started then is no worse off.
        assert_eq!(*pod.start().unwrap().lock_used().config, good, "{how}");
        let completed = pod.write("renewed/4", &pod.issue());
        assert_eq!(followed.looked(), completed, "{how}");
    }
}

#[test]
fn a_generation_that_is_completed_later_is_used_then() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    spoil(&pod, 1, "no key");
    followed.looked();
    assert_eq!(followed.generation(), 0);
    let whole = pod.renew(1);
    assert_eq!(followed.looked(), whole);
    assert!(followed.skipped().is_empty());
}

#[test]
fn keys_that_are_gone_or_spoiled_leave_the_ones_in_use() {
    let pod = Pod::new();
    pod.renew(1);
    let used = pod.renew(2);
    let followed = pod.start().unwrap();
    spoil(&pod, 2, "no key");
    assert_eq!(followed.looked(), used);
    fs::remove_dir_all(pod.path("renewed/2")).unwrap();
    assert_eq!(followed.looked(), used);
    fs::remove_dir_all(pod.path("renewed")).unwrap();
    fs::remove_file(pod.path("tls.key")).unwrap();
    assert_eq!(followed.looked(), used);
}

#[test]
fn an_end_does_not_start_without_keys_of_its_own_whatever_is_renewed() {
    let pod = Pod::new();
    pod.renew(1);
    fs::remove_file(pod.path("tls.key")).unwrap();
    let error = pod.start().err().unwrap();
    assert!(error.0.starts_with("FILE: cannot read") && error.0.contains("tls.key"), "{error}");
}

#[test]
fn many_connections_cost_one_look_a_second() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    let looked_at = followed.lock_look().at;
    let first = followed.now();
    pod.renew(1);
    loop {
        let config = followed.now();
        if looked_at.elapsed() >= LOOK_EVERY {
            break;
        }
        assert!(Arc::ptr_eq(&config, &first));
    }
    while followed.lock_look().at == looked_at {
        followed.now();
    }
    assert_eq!(followed.generation(), 1);
}

#[test]
fn a_connection_does_not_wait_for_the_look_of_another_one() {
    let pod = Pod::new();
    let followed = pod.start().unwrap();
    let first = followed.now();
    let mut look = followed.lock_look();
    look.at = Instant::now().checked_sub(LOOK_EVERY).unwrap();
    assert!(Arc::ptr_eq(&followed.now(), &first));
}

#[test]
fn a_certificate_that_has_ended_is_named_with_its_end_and_what_to_do() {
    let pod = Pod::new();
    pod.write("", &pod.issue_for_days(-1));
    let followed = pod.start().unwrap();
    let expired = followed.expired(OffsetDateTime::now_utc()).unwrap();
    let day = (OffsetDateTime::now_utc() - time::Duration::days(1)).date().to_string();
    for part in
        [&*pod.path("tls.crt").display().to_string(), "FILE", "expired at", &day, "DECANT_RENEWED_KEYS"]
    {
        assert!(expired.contains(part), "{part} is not in {expired}");
    }
    assert!(followed.lock_look().is_told);
    pod.renew(1);
    followed.looked();
    assert_eq!(followed.expired(OffsetDateTime::now_utc()), None);
}

#[test]
fn without_a_directory_for_renewed_keys_it_says_what_else_helps() {
    let file = Place::File { path: Path::new("/x/tls.crt").to_owned(), variable: "TLS_CERT_FILE".to_owned() };
    let text = Place::Text { text: String::new(), variable: "CLIENT_CERT".to_owned() };
    for (place, part) in [(file, "write a new one to /x/tls.crt"), (text, "a new one in CLIENT_CERT")] {
        let first = KeySet { chain: place.clone(), key: place, authorities: None };
        let remedy = Places { first, renewed: None }.remedy();
        assert!(remedy.contains(part), "{remedy}");
    }
}
