//! The settings of a sender.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;
use decant_shared::protocol::units::Rate;
use rustls::ClientConfig;

use crate::send::compression::Compression;
use crate::send::request::Timeouts;
use crate::send::url::UploadUrl;

/// What to send, where to, and how.
#[derive(Debug, Clone)]
pub struct Source {
    /// The device, file or directory to read.
    pub path: PathBuf,
    /// How it travels.
    pub content: ContentType,
    /// Whether to send every byte, holes included.
    pub preallocation: bool,
    /// Where the target is.
    pub url: UploadUrl,
    /// Our identity and the trusted authorities, for each new connection.
    pub tls: ReloadingConfig<ClientConfig>,
    /// Compressor threads.
    pub compress_threads: usize,
    /// Which blocks they compress.
    pub compression: Compression,
    /// Bytes to expect when the volume has no size; for progress only.
    pub expected_bytes: Option<u64>,
    /// The limit on bandwidth, after compression.
    pub limit: Option<Rate>,
    /// Connections that carry the clone together, if the target supports it and there is enough data.
    pub streams: usize,
    /// How long to retry a target that is not there yet, or busy.
    pub patience: Duration,
    /// Limits for each phase of the upload.
    pub timeouts: Timeouts,
    /// The target's counters, if it is in this process; otherwise the network is used.
    pub near: Option<Arc<Progress>>,
}
