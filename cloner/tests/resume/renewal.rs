//! Clones that outlive their first certificates.
//!
//! The first certificates live for seconds. An upload is held until they have ended, and then cut. What is renewed meanwhile
//! appears as the kubelet lets it appear.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_test_support::certificates::{Ca, SENDER};
use decant_test_support::relay::{Break, Relay};
use decant_test_support::until;
use rustls::crypto::ring::default_provider;
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::kills::FAST;
use crate::pair::{CloneProcess, MIB, Pair, assert_both_succeed};

/// Lives of the first certificates. The upload must be under way before they end; on a machine that is too busy for the
/// shortest life, the next one is tried.
const LIVES: [Duration; 4] =
    [Duration::from_secs(8), Duration::from_secs(16), Duration::from_secs(32), Duration::from_secs(64)];
/// Life of certificates that outlive the test.
const LONG_LIFE: Duration = Duration::from_secs(3600);
/// Certificates end with whole seconds.
const MARGIN: Duration = Duration::from_secs(2);
/// A segment and more is on the target's disk then.
const FIRST_BYTES: u64 = 80 * MIB;
/// More is on its disk when so much was sent again than was before.
const MORE_BYTES: u64 = 130 * MIB;

/// Whose first certificates end soon.
#[derive(Clone, Copy, PartialEq)]
enum Expires {
    Target,
    Source,
    Both,
}

/// A clone under way, and where its keys are.
struct CloneSetup {
    pair: Pair,
    expires: Expires,
    destination: PathBuf,
    /// That of the source that was started last.
    metrics_port: Cell<u16>,
    authority: Ca,
    directory: TempDir,
}

/// Both ends of a clone whose upload is held in its middle.
struct HeldClone {
    source: CloneProcess,
    target: CloneProcess,
    /// When the short-lived certificates have certainly expired.
    end: Instant,
}

impl CloneSetup {
    fn new(expires: Expires) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let destination = directory.path().join("target/disk.img");
        fs::create_dir(destination.parent().unwrap()).unwrap();
        for end in ["source", "target"] {
            fs::create_dir(directory.path().join(format!("{end}-keys"))).unwrap();
        }
        let pair = Pair::new(&Pair::source_file(directory.path()), &destination);
        let authority = Ca::new("the first");
        fs::write(pair.place().join("ca.crt"), authority.pem()).unwrap();
        Self { pair, expires, destination, metrics_port: Cell::new(0), authority, directory }
    }

    fn relay(&self) -> &Relay {
        self.pair.relay()
    }

    /// The directory for an end's renewed keys.
    fn keys(&self, end: &str) -> String {
        self.directory.path().join(format!("{end}-keys")).to_str().unwrap().to_owned()
    }

    /// Writes the first keys. Returns when those that are to end soon have ended.
    fn write_first_keys(&self, life: Duration) -> Instant {
        let end = Instant::now() + life + MARGIN;
        let of = |other| if self.expires == other { LONG_LIFE } else { life }.try_into().unwrap();
        let (target, source) = (of(Expires::Source), of(Expires::Target));
        for (name, identity) in [
            ("tls", self.authority.server_until(target)),
            ("client", self.authority.client_until(SENDER, source)),
            ("metrics", self.authority.server_until(source)),
        ] {
            identity.write(self.pair.place(), name);
        }
        end
    }

    /// Starts both ends and holds the upload in its middle.
    fn start(&self, variables: &[(&str, &str)]) -> HeldClone {
        let [keys_of_target, keys_of_source] = ["target", "source"].map(|end| self.keys(end));
        let place = self.pair.place().to_str().unwrap();
        let [certificate, key] = ["crt", "key"].map(|end| format!("{place}/metrics.{end}"));
        let own = [
            ("DECANT_RENEWED_KEYS", keys_of_source.as_str()),
            ("DECANT_METRICS_PORT", "0"),
            ("METRICS_TLS_CERT_FILE", &certificate),
            ("METRICS_TLS_KEY_FILE", &key),
        ];
        let mut log = Vec::new();
        for life in LIVES {
            let end = self.write_first_keys(life);
            self.relay().break_at(self.relay().sent_bytes() + FIRST_BYTES, Break::Hold);
            let target =
                self.pair.target_with(&self.destination, &[("DECANT_RENEWED_KEYS", &keys_of_target)]);
            let mut source = self.pair.source_with(FAST, &[&own[..], variables].concat());
            let page = source.wait_for_line("metrics on https://");
            let port = page.trim_end_matches("/metrics").rsplit(':').next().unwrap();
            self.metrics_port.set(port.parse().unwrap());
            match self.wait_until_held(&mut source) {
                Ok(()) => return HeldClone { source, target, end },
                Err(has_line) => log = has_line,
            }
        }
        panic!("the upload did not get to its middle: {log:#?}");
    }

    /// Waits until the upload is held; the source's log if it ended before.
    fn wait_until_held(&self, source: &mut CloneProcess) -> Result<(), Vec<String>> {
        while !self.relay().is_held() {
            if source.has_ended() {
                return Err(source.whole_log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Both ends get this generation, certificates and authority of `authority`.
    fn renew(&self, generation: u8, authority: &Ca) {
        self.renew_modified(generation, authority, |_| {});
    }

    /// The same, but something happens to each end's directory before it appears.
    fn renew_modified(&self, generation: u8, authority: &Ca, modify: impl Fn(&Path)) {
        let life = LONG_LIFE.try_into().unwrap();
        let target = [("tls", authority.server_until(life))];
        let source =
            [("tls", authority.client_until(SENDER, life)), ("metrics", authority.server_until(life))];
        for (end, identities) in [("target", &target[..]), ("source", &source)] {
            let directory = Path::new(&self.keys(end)).join(format!("..{generation}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("ca.crt"), authority.pem()).unwrap();
            for (name, identity) in identities {
                identity.write(&directory, name);
            }
            modify(&directory);
            publish_generation(&directory, generation);
        }
    }

    /// Ends the connection that carries the upload.
    fn cut(&self) {
        self.relay().break_at(0, Break::Cut);
        self.relay().release();
        until("the upload is cut", || self.relay().has_broken());
    }

    /// The metrics page for a scraper that trusts only `authority`.
    fn page(&self, authority: &Ca) -> Result<String, ureq::Error> {
        let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root]));
        let tls = tls.unversioned_rustls_crypto_provider(Arc::new(default_provider())).build();
        let config = ureq::Agent::config_builder().tls_config(tls).proxy(None).build();
        let url = format!("https://127.0.0.1:{}/metrics", self.metrics_port.get());
        ureq::Agent::from(config).get(url).call()?.body_mut().read_to_string()
    }

    /// Whether it is the authority that the clone began with.
    fn is_same(&self, authority: &Ca) -> bool {
        authority.der() == self.authority.der()
    }

    /// How much is on the target's disk, as reported to the source.
    fn durable_bytes(&self, authority: &Ca) -> u64 {
        let page = self.page(authority).unwrap();
        let line = page.lines().find(|line| line.starts_with("decant_durable_bytes ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// From the end of the first certificates to the end of the clone, where renewed ones of `authority` are there: both
    /// logs.
    fn assert_outlives(&self, held: HeldClone, authority: &Ca) -> Vec<String> {
        held.wait_until_expired();
        let HeldClone { mut source, target, .. } = held;
        let before_bytes = self.durable_bytes(authority);
        self.cut();
        self.relay().break_at(self.relay().sent_bytes() + MORE_BYTES, Break::Hold);
        self.wait_until_held(&mut source).unwrap();
        assert_eq!(self.page(&self.authority).is_ok(), self.is_same(authority), "the page's authority");
        // Only the target knows, and it is asked on a connection of its own.
        until("progress of the target", || self.durable_bytes(authority) > before_bytes);
        self.relay().release();
        let log = assert_both_succeed(source, target);
        self.pair.assert_equal(&self.destination);
        log
    }
}

impl HeldClone {
    fn wait_until_expired(&self) {
        std::thread::sleep(self.end.saturating_duration_since(Instant::now()));
    }
}

/// Lets a directory appear under the number of a generation, atomically and through a symbolic link, as the kubelet does.
fn publish_generation(directory: &Path, generation: u8) {
    let link = directory.with_file_name(generation.to_string());
    std::os::unix::fs::symlink(directory.file_name().unwrap(), link).unwrap();
}

fn has_line(log: &[String], part: &str) -> bool {
    log.iter().any(|line| line.contains(part))
}

#[test]
fn a_clone_resumes_and_reports_progress_with_renewed_certificates() {
    let clone = CloneSetup::new(Expires::Both);
    let held = clone.start(&[]);
    clone.renew(1, &clone.authority);
    let log = clone.assert_outlives(held, &clone.authority);
    assert!(
        has_line(&log, "hung up without an answer") && has_line(&log, "resuming after the first"),
        "{log:#?}"
    );
    assert!(has_line(&log, "source-keys/1/tls.crt from now on"), "{log:#?}");
    assert!(has_line(&log, "source-keys/1/metrics.crt from now on"), "{log:#?}");
    assert!(!has_line(&log, "expired"), "{log:#?}");
}

#[test]
fn every_connection_uses_renewed_certificates() {
    let clone = CloneSetup::new(Expires::Both);
    let held = clone.start(&[("DECANT_STREAMS", "3")]);
    clone.renew(1, &clone.authority);
    let log = clone.assert_outlives(held, &clone.authority);
    assert!(has_line(&log, "sending over 3 connections"), "{log:#?}");
}

#[test]
fn a_clone_outlives_the_authority_of_both_ends() {
    let clone = CloneSetup::new(Expires::Both);
    let held = clone.start(&[]);
    let second = Ca::new("the second");
    clone.renew(1, &second);
    clone.assert_outlives(held, &second);
}

#[test]
fn invalid_key_generations_are_logged_once_and_the_clone_continues() {
    let clone = CloneSetup::new(Expires::Both);
    let held = clone.start(&[]);
    clone.renew(1, &clone.authority);
    let life = LONG_LIFE.try_into().unwrap();
    clone.renew_modified(2, &clone.authority, |directory| {
        let whole = fs::read(directory.join("tls.crt")).unwrap();
        fs::write(directory.join("tls.crt"), &whole[..whole.len() / 2]).unwrap();
    });
    clone.renew_modified(3, &clone.authority, |directory| {
        fs::write(directory.join("tls.key"), clone.authority.server_until(life).key_pem()).unwrap();
    });
    clone.renew_modified(4, &clone.authority, |directory| {
        fs::File::create(directory.join("ca.crt")).unwrap().set_len(1 << 40).unwrap();
    });
    let log = clone.assert_outlives(held, &clone.authority);
    assert!(has_line(&log, "source-keys/1/tls.crt from now on"), "{log:#?}");
    for generation in 2..=4 {
        let part = format!("generation {generation} of the keys in");
        let count = log.iter().filter(|line| line.contains(&part)).count();
        assert_eq!(count, 1, "{generation}: {log:#?}");
    }
}

#[test]
fn without_renewal_a_clone_fails_with_the_expiry_of_the_targets_certificate() {
    let clone = CloneSetup::new(Expires::Target);
    let held = clone.start(&[("DECANT_RENEWED_KEYS", "")]);
    held.wait_until_expired();
    held.target.wait_for_line("our own certificate");
    clone.cut();
    let (code, log) = held.source.ended();
    let error = log.iter().find(|line| line.contains("ERROR")).unwrap();
    assert_eq!(code, Some(7), "{log:#?}");
    for part in ["the certificate of the target at", "expired at 20", "renew it there"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn without_renewal_a_clone_fails_with_the_expiry_of_the_sources_certificate() {
    let clone = CloneSetup::new(Expires::Source);
    let held = clone.start(&[("DECANT_RENEWED_KEYS", "")]);
    held.wait_until_expired();
    held.source.wait_for_line("WARN  our own certificate, CLIENT_CERT, expired at 20");
    clone.cut();
    let (code, log) = held.source.ended();
    let error = log.iter().find(|line| line.contains("ERROR")).unwrap();
    assert_eq!(code, Some(7), "{log:#?}");
    let parts = [
        "does not trust our certificate: CertificateExpired",
        "our own certificate, CLIENT_CERT, expired at 20",
        "restart with a new certificate in CLIENT_CERT",
    ];
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn certificates_renewed_after_expiry_are_used() {
    let clone = CloneSetup::new(Expires::Both);
    let held = clone.start(&[]);
    held.wait_until_expired();
    clone.cut();
    held.source.wait_for_line("trying again");
    // Not only because it was cut.
    held.source.wait_for_line("the certificate of the target at");
    clone.renew(1, &clone.authority);
    let log = assert_both_succeed(held.source, held.target);
    clone.pair.assert_equal(&clone.destination);
    assert!(has_line(&log, "our own certificate, CLIENT_CERT, expired at"), "{log:#?}");
}
