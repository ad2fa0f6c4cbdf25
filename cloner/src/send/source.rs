//! What to send, where to, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use decant_shared::net::tls::reloading_config::ReloadingConfig;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;
use decant_shared::protocol::units::Rate;
use rustls::ClientConfig;

use crate::send::compression::mode::Compression;
use crate::send::request::Timeouts;
use crate::send::url::UploadUrl;

/// What to send, where to, and how.
#[derive(Debug, Clone)]
pub struct Source {
    /// The device, file or directory to read.
    pub path: PathBuf,
    /// How it travels.
    pub content: ContentType,
    /// Send every byte, holes included.
    pub preallocation: bool,
    /// Where to.
    pub url: UploadUrl,
    /// Whom to trust and who we are, at each connection.
    pub tls: ReloadingConfig<ClientConfig>,
    /// Compressor threads.
    pub compress_threads: usize,
    /// Which data they compress.
    pub compression: Compression,
    /// Bytes to expect when the volume cannot tell; for progress alone.
    pub expected_bytes: Option<u64>,
    /// How fast bytes may go out, after compression.
    pub limit: Option<Rate>,
    /// Connections that carry it together, where the target knows how and there is enough to carry.
    pub streams: usize,
    /// For how long a target that is not there yet, or busy, is asked again.
    pub patience: Duration,
    /// Limits for each phase of the upload.
    pub timeouts: Timeouts,
    /// The target's counters, where it is in this process; else it is asked over the network.
    pub near: Option<Arc<Progress>>,
}
