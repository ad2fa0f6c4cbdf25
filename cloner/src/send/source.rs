//! The settings of a sender.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;
use rustls::ClientConfig;

use crate::pipeline::rate_limiter::RateLimiter;
use crate::send::compression::Compression;
use crate::send::request::Timeouts;
use crate::send::url::UploadUrl;

/// What to send, where, and how.
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
    /// The identity of the source and the trusted authorities, for each new connection.
    pub tls: ReloadingConfig<ClientConfig>,
    /// Compressor threads.
    pub compress_threads: usize,
    /// Which blocks are compressed.
    pub compression: Compression,
    /// Bytes to expect if the volume has no size. Only for progress.
    pub expected_bytes: Option<u64>,
    /// The limit on bandwidth, after compression. All attempts share it.
    pub limiter: Arc<RateLimiter>,
    /// The number of connections that carry the clone, if the target supports several and there is enough data.
    pub streams: usize,
    /// How long to retry while a target is busy or not reachable yet.
    pub patience: Duration,
    /// Limits for each phase of the upload.
    pub timeouts: Timeouts,
    /// The target's counters, if the target is in this process. Otherwise the source asks over the network.
    pub near: Option<Arc<Progress>>,
}
