//! The command line: what was typed, as values. Nothing here opens, reads or starts anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use decant_shared::process::log::Format;
use decant_shared::protocol::cdi::TERMINATION_LOG;
use decant_shared::protocol::exit_code;
use decant_shared::protocol::stream_id;
use decant_shared::protocol::units::Rate;
use log::LevelFilter;

use crate::digest::ContentDigest;
use crate::send::compression::Compression;

/// As clap wants it.
const STREAMS_LIMIT: i64 = stream_id::STREAMS_LIMIT as i64;

/// Clones a volume: both ends of a copy on this machine, or one end of it in a pod.
///
/// Without a command the role follows from the environment, as in the pods that CDI makes: UPLOAD_URL makes
/// it a source; CLIENT_NAME together with TLS_CERT_FILE or TLS_CERT makes it a target.
#[derive(Debug, Parser)]
#[command(name = "cloner", version, after_long_help = exit_code::help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to write log lines (always on stderr).
    #[arg(long, global = true, value_enum, default_value = "text", env = "DECANT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copies a file, block device or directory on this machine, over the same path as between pods.
    Copy(CopyArgs),
    /// Prints the digest of a file, block device or directory, as clones compute it.
    Digest(DigestArgs),
    /// Sends a volume to a target pod (configured like CDI's cloner).
    Source(SourceArgs),
    /// Receives a volume from a source pod (configured like CDI's upload server).
    Target(TargetArgs),
}

/// Arguments of `cloner copy`.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct CopyArgs {
    /// The file, block device or directory to copy.
    pub source: PathBuf,
    /// Where to: a new file, a block device, a new or empty directory. A file or device goes into a directory that
    /// exists. A symbolic link to a file is replaced, not followed.
    pub target: PathBuf,
    /// Replace what the target holds. Always needed for a block device. In a directory, entries of the same names
    /// are replaced and all others stay.
    #[arg(long, short)]
    pub force: bool,
    /// Allocate every byte at the target, holes included.
    #[arg(long)]
    pub preallocate: bool,
    /// No more bytes on the wire than this, after compression: 50MiB/s, 400kB/s.
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    /// Which data is compressed.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Compression::Auto)]
    pub compression: Compression,
    /// What to check beyond the digests that every copy is checked with.
    #[arg(long, value_enum, value_name = "HOW")]
    pub verify: Option<Verify>,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
}

/// Arguments of `cloner digest`.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct DigestArgs {
    /// The file, block device or directory to read.
    pub path: PathBuf,
    /// Fail if the digest is another one. Of a file or device only as many bytes are read as this one is about.
    #[arg(long, value_name = "DIGEST")]
    pub expect: Option<ContentDigest>,
    /// Read only the first bytes of a file or device: a target may be larger than what was cloned onto it.
    #[arg(long, value_name = "N", conflicts_with = "expect")]
    pub bytes: Option<u64>,
}

/// Arguments of `cloner source`; CDI's own flags are taken with one dash or two.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct SourceArgs {
    /// What travels: filesystem-clone or blockdevice-clone. Default: from VOLUME_MODE.
    #[arg(long)]
    pub content_type: Option<String>,
    /// The directory or device to read. Default: MOUNT_POINT.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// Expected bytes, for progress; used only where the volume cannot be measured.
    #[arg(long, default_value_t = 0)]
    pub upload_bytes: u64,
    /// Port of the metrics page (0: any free port).
    #[arg(long, default_value_t = decant_shared::protocol::cdi::TLS_PORT, env = "DECANT_METRICS_PORT")]
    pub metrics_port: u16,
    /// For how long a target that is not there yet, or busy, is asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, env = "DECANT_RETRY_SECS")]
    pub retry_secs: u64,
    /// No more bytes on the wire than this, after compression: 50MiB/s, 400kB/s.
    #[arg(long, value_name = "RATE", env = "DECANT_LIMIT")]
    pub limit: Option<Rate>,
    /// Which data is compressed.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Compression::Auto, env = "DECANT_COMPRESSION")]
    pub compression: Compression,
    /// Connections that carry a large volume together, where both ends are Decant: for networks that hold each connection
    /// to less than they can do. Each costs about 2 MiB of memory.
    #[arg(long, value_name = "N", default_value_t = 1, env = "DECANT_STREAMS", value_parser = clap::value_parser!(u8).range(1..=STREAMS_LIMIT))]
    pub streams: u8,
    /// How long a target may take nothing before it counts as stalled.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 300, env = "DECANT_STALL_SECS")]
    pub stall_secs: u64,
    /// How long a target that has everything may take to answer: it syncs its disk in that time.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 3600, env = "DECANT_ANSWER_SECS")]
    pub answer_secs: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
}

/// Arguments of `cloner target`; everything else is environment, as in CDI's upload server.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct TargetArgs {
    /// Directory of a filesystem volume. Default: the directory of DESTINATION, which is /data.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// What to check beyond the digests that every clone is checked with.
    #[arg(long, value_enum, value_name = "HOW", env = "DECANT_VERIFY")]
    pub verify: Option<Verify>,
    /// Plain-text port that answers /healthz only, for CDI up to 1.60 (0: none).
    #[arg(long, default_value_t = decant_shared::protocol::cdi::PLAIN_HEALTH_PORT, env = "DECANT_PLAIN_HEALTH_PORT")]
    pub plain_health_port: u16,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
}

/// What both pod roles take.
#[derive(Debug, Args)]
pub struct PodArgs {
    /// klog's verbosity: up to 3 is info, 4 and 5 debug, more is trace.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
    /// Where the result is written for the kubelet; nothing is written when the file is not there.
    #[arg(long, default_value = TERMINATION_LOG, env = "DECANT_TERMINATION_LOG")]
    pub termination_log: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
}

/// What a user may want to turn.
#[derive(Debug, Args)]
pub struct Tuning {
    /// Threads that compress or decompress. Default: one per core, four at most.
    #[arg(long, value_name = "N", env = "DECANT_COMPRESS_THREADS", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub compress_threads: Option<u8>,
}

impl Tuning {
    /// The number of threads to use.
    pub fn threads(&self) -> usize {
        self.compress_threads.map_or_else(default_threads, usize::from)
    }
}

/// One thread per core, at most four (the connection is the next limit), one when nobody knows.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// What to check beyond the digests that come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// Read everything back from the disk, past the page cache, and compare.
    Readback,
}

/// How to write log lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

impl PodArgs {
    /// The log level that klog's verbosity stands for.
    pub fn level(&self) -> LevelFilter {
        match self.verbosity {
            0..=3 => LevelFilter::Info,
            4 | 5 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}
