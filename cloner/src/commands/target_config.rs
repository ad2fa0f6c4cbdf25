//! A target's configuration as CDI's controllers give it (docs/protocol.md section 2.2).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use decant_shared::net::tls::key_sources::{KeySet, KeySource, KeySources};
use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::net::tls::server::config_with_optional_client_auth;
use decant_shared::net::tls::suites::{CipherSuites, TlsVersions};
use decant_shared::protocol::cdi::{
    AUTHORITIES_FILE, CERTIFICATE_FILE, DEFAULT_DESTINATION, DISK_IMAGE, DISK_IMAGE_MODE, KEY_FILE,
    TARGET_DIRECTORY, TLS_PORT,
};
use decant_shared::protocol::units::{Overhead, parse_quantity, usable_bytes};
use rustls::ServerConfig;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::commands::cli::{TargetArgs, Verify};
use crate::commands::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::receive::pipeline::IDLE;
use crate::volume::destination::{Destination, KeepPartial};
use crate::writing::Writing;

/// `DESTINATION` of a block volume.
const BLOCK_DESTINATION: &str = "/dev/cdi-block-volume";

/// The configuration of a target pod.
pub struct TargetConfig {
    /// Address to listen on; `None` is every address of both IP families.
    pub address: Option<IpAddr>,
    /// Port to listen on.
    pub port: u16,
    /// The keys of the target, and the authorities that sign the certificates of senders. Renewed keys replace them.
    pub tls: ReloadingConfig<ServerConfig>,
    /// Common name of the sender's certificate.
    pub client_name: String,
    /// How long the sender may send nothing.
    pub idle: Duration,
    /// When the target stops waiting for a sender.
    pub deadline: Option<OffsetDateTime>,
    /// How to write.
    pub writing: Writing,
}

impl TargetConfig {
    /// Reads and checks the flags and the environment, before anything is opened or started.
    pub fn configure(args: &TargetArgs, environment: &Environment) -> Result<Self> {
        let client_name =
            environment.require("CLIENT_NAME", "the common name of the sender's certificate")?;
        Ok(Self {
            address: address(environment)?,
            port: port(environment),
            tls: tls(environment)?,
            client_name: client_name.to_owned(),
            idle: idle(environment)?,
            deadline: deadline(environment)?,
            writing: writing(args.mount.as_deref(), args.verify, args.pod.tuning.threads(), environment)?,
        })
    }
}

/// How the volume of a pod is written. `mount` is the directory of a filesystem volume, if a flag names it.
pub(super) fn writing(
    mount: Option<&Path>,
    verify: Option<Verify>,
    decompress_threads: usize,
    environment: &Environment,
) -> Result<Writing> {
    let destination = destination(mount, environment)?;
    let grow_to_bytes = match &destination {
        Destination::Directory { path, .. } if !path.is_dir() => {
            let text = format!("{} is not a directory: the volume must be mounted there", path.display());
            return Err(Error::new(Kind::Target, text));
        }
        Destination::Directory { .. } => usable_size(environment)?,
        Destination::Device(_) => None,
    };
    Ok(Writing {
        destination,
        preallocate: environment.is_true("PREALLOCATION"),
        image_mode: DISK_IMAGE_MODE,
        grow_to_bytes,
        keep_partial: KeepPartial::Always,
        is_exact: false,
        is_made: false,
        finishes_apart: false,
        shares: false,
        read_back: verify == Some(Verify::Readback),
        decompress_threads,
    })
}

fn address(environment: &Environment) -> Result<Option<IpAddr>> {
    match environment.get("LISTEN_ADDRESS") {
        // CDI's default means all addresses. On an IPv6 cluster that must include IPv6.
        None | Some("0.0.0.0" | "::" | "[::]") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Error::usage(format!("LISTEN_ADDRESS is {text:?}: it must be an IP address"))),
    }
}

/// Invalid values are ignored, as in CDI.
fn port(environment: &Environment) -> u16 {
    environment.get("LISTEN_PORT").and_then(|text| text.parse().ok()).unwrap_or(TLS_PORT)
}

fn tls(environment: &Environment) -> Result<ReloadingConfig<ServerConfig>> {
    let first = KeySet {
        chain: place(environment, "TLS_CERT_FILE", "TLS_CERT", "the server's certificate")?,
        key: place(environment, "TLS_KEY_FILE", "TLS_KEY", "the server's private key")?,
        authorities: Some(place(
            environment,
            "CLIENT_CERT_FILE",
            "CLIENT_CERT",
            "the certificates of the authorities that senders are checked with",
        )?),
    };
    let names = KeySet { chain: CERTIFICATE_FILE, key: KEY_FILE, authorities: Some(AUTHORITIES_FILE) };
    let versions = TlsVersions::parse(environment.get("TLS_MIN_VERSION").unwrap_or_default())
        .map_err(|e| Error::usage(e.0))?;
    let suites = CipherSuites::parse(environment.get("TLS_CIPHERS").unwrap_or_default());
    let places = KeySources { initial: first, renewed: environment.renewed_keys(names) };
    Ok(ReloadingConfig::from_keys(places, move |keys| {
        config_with_optional_client_auth(keys.identity()?, keys.roots()?, versions, suites.clone())
    })?)
}

/// The PEM in the file that `file_name` specifies, or in the variable `content_name` itself (CDI up to 1.59).
fn place(environment: &Environment, file_name: &str, content_name: &str, purpose: &str) -> Result<KeySource> {
    match environment.get(content_name) {
        Some(_) if environment.get(file_name).is_none() => environment.require_pem(content_name, purpose),
        _ => environment.require_pem_file(file_name, purpose),
    }
}

/// How long a sender may send nothing. CDI has no such limit and waits forever.
fn idle(environment: &Environment) -> Result<Duration> {
    let Some(text) = environment.get("DECANT_IDLE_SECS") else { return Ok(IDLE) };
    match text.parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::usage(format!(
            "DECANT_IDLE_SECS is {text:?}: it must be a number of seconds, at least 1"
        ))),
    }
}

fn deadline(environment: &Environment) -> Result<Option<OffsetDateTime>> {
    environment
        .get("DEADLINE")
        .map(|text| {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
                Error::usage(format!("DEADLINE is {text:?}: it must be a time like 2026-01-31T12:00:00Z"))
            })
        })
        .transpose()
}

/// A block device is the destination if the path is CDI's path of a block volume, or any block device that is not named
/// `disk.img`. Every other path is an image file in a filesystem volume.
fn destination(mount: Option<&Path>, environment: &Environment) -> Result<Destination> {
    use std::os::unix::fs::FileTypeExt;
    if let Some(directory) = mount {
        return Ok(Destination::Directory { path: directory.to_owned(), image_name: DISK_IMAGE.into() });
    }
    let text = environment.get("DESTINATION").unwrap_or(DEFAULT_DESTINATION);
    let path = PathBuf::from(text);
    let name = path.file_name().map(ToOwned::to_owned);
    // A path that ends in disk.img is inside a volume, and other users may have written to the volume. An image must
    // not go to a device node there, or follow a link there.
    let is_in_volume = name.as_deref() == Some(DISK_IMAGE.as_ref());
    let is_device = || path.metadata().is_ok_and(|meta| meta.file_type().is_block_device());
    if text == BLOCK_DESTINATION || (!is_in_volume && is_device()) {
        return Ok(Destination::Device(path));
    }
    match (path.parent(), name) {
        // A directory named disk.img may come from an archive, and a clone of an image replaces it. Any other directory
        // is an error in the configuration.
        (Some(directory), Some(image_name)) if path.is_absolute() && (is_in_volume || !path.is_dir()) => {
            Ok(Destination::Directory { path: directory.to_owned(), image_name })
        }
        _ => Err(Error::usage(format!(
            "DESTINATION is {text:?}: it must be a block device or the absolute path of a file, like {TARGET_DIRECTORY}/{DISK_IMAGE}"
        ))),
    }
}

/// The size to which an image is grown: the part of a volume of `UPLOAD_IMAGE_SIZE` that a guest can use if the
/// filesystem keeps `FILESYSTEM_OVERHEAD` of it (docs/protocol.md section 4.8).
fn usable_size(environment: &Environment) -> Result<Option<u64>> {
    let Some(text) = environment.get("UPLOAD_IMAGE_SIZE") else { return Ok(None) };
    let size_bytes =
        parse_quantity(text).map_err(|e| Error::usage(format!("UPLOAD_IMAGE_SIZE is {text:?}: {e}")))?;
    let overhead = match environment.get("FILESYSTEM_OVERHEAD") {
        None => Overhead::NONE,
        Some(text) => text
            .parse::<Overhead>()
            .map_err(|e| Error::usage(format!("FILESYSTEM_OVERHEAD is {text:?}: {e}")))?,
    };
    Ok(Some(usable_bytes(overhead, size_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_one_gib_with_six_percent_overhead_holds_an_image_of_966_mib() {
        let environment = Environment::from([("UPLOAD_IMAGE_SIZE", "1Gi"), ("FILESYSTEM_OVERHEAD", "0.06")]);
        assert_eq!(usable_size(&environment).unwrap(), Some(966 << 20));
    }

    #[test]
    fn every_address_of_cdis_default_is_every_address_of_both_families() {
        for text in ["", "0.0.0.0", "::"] {
            assert_eq!(address(&Environment::from([("LISTEN_ADDRESS", text)])).unwrap(), None, "{text}");
        }
        assert!(address(&Environment::from([("LISTEN_ADDRESS", "host")])).is_err());
    }

    #[test]
    fn the_idle_limit_is_five_minutes_unless_it_is_set() {
        let with = |text| idle(&Environment::from([("DECANT_IDLE_SECS", text)]));
        assert_eq!(with("").unwrap(), Duration::from_secs(300));
        assert_eq!(with("7").unwrap(), Duration::from_secs(7));
        assert!(with("0").is_err() && with("long").is_err());
    }

    #[test]
    fn an_invalid_deadline_is_a_usage_error() {
        assert!(deadline(&Environment::from([("DEADLINE", "tomorrow")])).is_err());
        assert!(deadline(&Environment::from([("DEADLINE", "2026-01-31T12:00:00Z")])).unwrap().is_some());
    }
}
