//! A source's configuration as CDI's controllers give it (docs/protocol.md sections 1.2 to 1.4).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use decant_shared::net::tls::client;
use decant_shared::net::tls::key_sources::{KeySet, KeySources};
use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::protocol::cdi::{AUTHORITIES_FILE, CERTIFICATE_FILE, ContentType, KEY_FILE};
use rustls::ClientConfig;

use crate::commands::cli::SourceArgs;
use crate::commands::environment::Environment;
use crate::error::{Error, Result};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::send::request::Timeouts;
use crate::send::source::Source;
use crate::send::url::UploadUrl;

impl Source {
    /// Reads and checks the flags and the environment, before anything is opened or started.
    pub fn configure(args: &SourceArgs, environment: &Environment) -> Result<Self> {
        let content = content(args.content_type.as_deref(), environment)?;
        let path = path(args.mount.as_deref(), environment)?;
        let url = UploadUrl::parse(environment.require("UPLOAD_URL", "the target's upload URL")?)?;
        Ok(Self {
            path,
            content,
            preallocation: environment.is_true("PREALLOCATION"),
            url,
            tls: tls(environment)?,
            compress_threads: args.pod.tuning.threads(),
            compression: args.compression,
            expected_bytes: (args.upload_bytes > 0).then_some(args.upload_bytes),
            limiter: Arc::new(RateLimiter::new(args.limit)),
            streams: usize::from(args.streams),
            patience: Duration::from_secs(args.retry_secs),
            timeouts: Timeouts {
                stall: Duration::from_secs(args.stall_secs),
                answer: Duration::from_secs(args.answer_secs),
                ..Timeouts::default()
            },
            near: None,
        })
    }
}

/// The directory or device to read: `mount`, or `MOUNT_POINT`.
pub(super) fn path(mount: Option<&Path>, environment: &Environment) -> Result<PathBuf> {
    match (mount, environment.get("MOUNT_POINT")) {
        (Some(mount), _) if !mount.as_os_str().is_empty() => Ok(mount.to_owned()),
        (None, Some(mount)) => Ok(PathBuf::from(mount)),
        _ => Err(Error::usage("MOUNT_POINT is not set: set it or -mount to the directory or device to read")),
    }
}

/// TLS with the keys from the environment, which are replaced when renewed keys appear.
fn tls(environment: &Environment) -> Result<ReloadingConfig<ClientConfig>> {
    let key = environment.require_pem("CLIENT_KEY", "the client's private key")?;
    let chain = environment.require_pem("CLIENT_CERT", "the client's certificate")?;
    let authorities = environment
        .require_pem("SERVER_CA_CERT", "the certificates of the authorities that targets are checked with")?;
    let first = KeySet { chain, key, authorities: Some(authorities) };
    let names = KeySet { chain: CERTIFICATE_FILE, key: KEY_FILE, authorities: Some(AUTHORITIES_FILE) };
    let places = KeySources { initial: first, renewed: environment.renewed_keys(names) };
    Ok(ReloadingConfig::from_keys(places, |keys| client::config(keys.roots()?, keys.identity()?))?)
}

/// The value of `-content-type`. Without it, the result of CDI's startup script for `VOLUME_MODE`: exactly `block` is a
/// block volume, any other value that is not empty is a filesystem.
pub(super) fn content(content_type: Option<&str>, environment: &Environment) -> Result<ContentType> {
    match (content_type, environment.get("VOLUME_MODE")) {
        (Some(text), _) => text.parse().map_err(Error::usage),
        (None, Some("block")) => Ok(ContentType::Block),
        (None, Some(_)) => Ok(ContentType::Filesystem),
        (None, None) => {
            Err(Error::usage("VOLUME_MODE is not set: set it to block or filesystem, or use -content-type"))
        }
    }
}
