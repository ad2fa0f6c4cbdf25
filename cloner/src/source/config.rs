//! A source's configuration as CDI's controllers give it (contract 1.2 to 1.4).

use std::path::PathBuf;
use std::time::Duration;

use decant_shared::contract::ContentType;
use decant_shared::tls::{self, pem};

use super::Source;
use super::request::Timeouts;
use super::url::UploadUrl;
use crate::args::SourceArgs;
use crate::environment::Environment;
use crate::error::{Error, Result};

impl Source {
    /// Reads flags and environment. Everything is checked before anything is opened or started.
    pub fn configure(args: &SourceArgs, environment: &Environment) -> Result<Self> {
        let content = content(args, environment)?;
        let path = match (&args.mount, environment.get("MOUNT_POINT")) {
            (Some(mount), _) if !mount.as_os_str().is_empty() => mount.clone(),
            (None, Some(mount)) => PathBuf::from(mount),
            _ => {
                return Err(Error::usage(
                    "MOUNT_POINT missing: set it, or -mount, to the folder or device to read",
                ));
            }
        };
        let url = UploadUrl::parse(environment.require("UPLOAD_URL", "the target's upload URL")?)?;
        let key = environment.require("CLIENT_KEY", "the client's private key as PEM")?;
        let certificate = environment.require("CLIENT_CERT", "the client's certificate as PEM")?;
        let authorities =
            environment.require("SERVER_CA_CERT", "the certificates that vouch for targets as PEM")?;
        let identity = pem::identity(certificate.as_bytes(), "CLIENT_CERT", key.as_bytes(), "CLIENT_KEY")?;
        let roots = pem::authorities(authorities.as_bytes(), "SERVER_CA_CERT")?;
        Ok(Self {
            path,
            content,
            preallocation: environment.is_true("PREALLOCATION"),
            url,
            tls: tls::client::config(roots, identity)?,
            compress_threads: args.pod.tuning.threads(),
            compression: args.compression,
            expected_bytes: (args.upload_bytes > 0).then_some(args.upload_bytes),
            limit: args.limit,
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

/// `-content-type`, or else what CDI's startup script makes of `VOLUME_MODE`: exactly `block` is a block
/// volume, anything else that is not empty a filesystem.
fn content(args: &SourceArgs, environment: &Environment) -> Result<ContentType> {
    match (&args.content_type, environment.get("VOLUME_MODE")) {
        (Some(word), _) => word.parse().map_err(Error::usage),
        (None, Some("block")) => Ok(ContentType::Block),
        (None, Some(_)) => Ok(ContentType::Filesystem),
        (None, None) => {
            Err(Error::usage("VOLUME_MODE missing: set it to block or filesystem, or use -content-type"))
        }
    }
}
