//! The command line, parsed by clap. Nothing here opens, reads or starts anything.

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

/// The limit as the type that clap's `range` takes.
const STREAMS_LIMIT: i64 = stream_id::STREAMS_LIMIT as i64;

/// Clones a volume: both ends of a copy on this machine, or one end of it in a pod.
///
/// Without a command the environment decides, as in the pods that CDI creates: with UPLOAD_URL the source runs; with
/// CLIENT_NAME and either TLS_CERT_FILE or TLS_CERT the target runs.
#[derive(Debug, Parser)]
#[command(name = "cloner", version, after_long_help = exit_code::help())]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    /// Format of log lines, which go to stderr.
    #[arg(long, global = true, value_enum, default_value = "text", env = "DECANT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// The commands of the cloner.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copies a file, block device or directory on this machine.
    Copy(CopyArgs),
    /// Clones a volume in one pod that mounts both volumes (configured like a source and a target pod).
    Direct(DirectArgs),
    /// Prints the digest of a file, block device or directory, as a clone computes it.
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
    /// The target: a new file, a block device, or a new or empty directory. If the source is a file or device and the target
    /// an existing directory, the copy is created in that directory. A symbolic link to a file is replaced, not followed.
    pub target: PathBuf,
    /// Replace existing content of the target. A block device always needs this. In a directory, entries of the same names
    /// are replaced and all others stay.
    #[arg(long, short)]
    pub force: bool,
    /// Allocate all space at the target, also for holes.
    #[arg(long)]
    pub preallocate: bool,
    /// No more bytes than this: 50MiB/s, 400kB/s. With --wire, bytes on the wire, after compression.
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    /// Start over, even if an interrupted copy can be resumed.
    #[arg(long, conflicts_with = "wire")]
    pub restart: bool,
    /// Copy over a loopback connection with TLS, as between two pods: for comparison and tests.
    #[arg(long)]
    pub wire: bool,
    /// Which data to compress on the wire. Default: auto.
    #[arg(long, value_enum, value_name = "WHEN", requires = "wire")]
    pub compression: Option<Compression>,
    /// What to check in addition to the digests, which every copy checks.
    #[arg(long, value_enum, value_name = "HOW")]
    pub verify: Option<Verify>,
    /// Print only errors.
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
    /// Fail unless the digest is this one. Of a file or device, only as many bytes are read as this digest covers.
    #[arg(long, value_name = "DIGEST")]
    pub expect: Option<ContentDigest>,
    /// Read only the first N bytes of a file or device: a target may be larger than the volume that was cloned onto it.
    #[arg(long, value_name = "N", conflicts_with = "expect")]
    pub bytes: Option<u64>,
}

/// Arguments of `cloner source`. CDI's own flags work with one dash and with two.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct SourceArgs {
    /// What to send: filesystem-clone or blockdevice-clone. Default: from VOLUME_MODE.
    #[arg(long)]
    pub content_type: Option<String>,
    /// The directory or device to read. Default: MOUNT_POINT.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// Expected size in bytes, for progress. Only used if the volume cannot be measured.
    #[arg(long, default_value_t = 0)]
    pub upload_bytes: u64,
    /// Port of the metrics page (0: any free port).
    #[arg(long, default_value_t = decant_shared::protocol::cdi::TLS_PORT, env = "DECANT_METRICS_PORT")]
    pub metrics_port: u16,
    /// How long to retry while the target is busy or does not answer yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, env = "DECANT_RETRY_SECS")]
    pub retry_secs: u64,
    /// No more bytes on the wire than this, after compression: 50MiB/s, 400kB/s.
    #[arg(long, value_name = "RATE", env = "DECANT_LIMIT")]
    pub limit: Option<Rate>,
    /// Which data to compress.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Compression::Auto, env = "DECANT_COMPRESSION")]
    pub compression: Compression,
    /// Number of connections for a large volume, if both ends are Decant: for networks that limit the rate of each
    /// connection. Each connection needs about 2 MiB of memory.
    #[arg(long, value_name = "N", default_value_t = 1, env = "DECANT_STREAMS", value_parser = clap::value_parser!(u8).range(1..=STREAMS_LIMIT))]
    pub streams: u8,
    /// How long a target may accept no data before it counts as stalled.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 300, env = "DECANT_STALL_SECS")]
    pub stall_secs: u64,
    /// How long a target may take to answer after the last byte: it syncs its disk in that time.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 3600, env = "DECANT_ANSWER_SECS")]
    pub answer_secs: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
}

/// Arguments of `cloner target`. The environment configures the rest, as in CDI's upload server.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct TargetArgs {
    /// Directory of a filesystem volume. Default: the directory of DESTINATION, which is /data.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// What to check in addition to the digests, which every clone checks.
    #[arg(long, value_enum, value_name = "HOW", env = "DECANT_VERIFY")]
    pub verify: Option<Verify>,
    /// Port that answers /healthz without TLS, for CDI up to 1.60 (0: none).
    #[arg(long, default_value_t = decant_shared::protocol::cdi::PLAIN_HEALTH_PORT, env = "DECANT_PLAIN_HEALTH_PORT")]
    pub plain_health_port: u16,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
}

/// Arguments of `cloner direct`. The environment configures the rest, as in source and target pods.
#[derive(Debug, Args)]
#[command(after_long_help = exit_code::help())]
pub struct DirectArgs {
    /// What to clone: filesystem-clone or blockdevice-clone. Default: from VOLUME_MODE.
    #[arg(long)]
    pub content_type: Option<String>,
    /// The directory or device to read. Default: MOUNT_POINT.
    #[arg(long)]
    pub source: Option<PathBuf>,
    /// Directory of the target's filesystem volume. Default: the directory of DESTINATION, which is /data, or the block device
    /// that DESTINATION names.
    #[arg(long)]
    pub target: Option<PathBuf>,
    /// Port of the metrics page (0: any free port).
    #[arg(long, default_value_t = decant_shared::protocol::cdi::TLS_PORT, env = "DECANT_METRICS_PORT")]
    pub metrics_port: u16,
    /// Read no more bytes than this: 50MiB/s, 400kB/s.
    #[arg(long, value_name = "RATE", env = "DECANT_LIMIT")]
    pub limit: Option<Rate>,
    /// What to check in addition to the digest.
    #[arg(long, value_enum, value_name = "HOW", env = "DECANT_VERIFY")]
    pub verify: Option<Verify>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
}

/// Arguments of all commands that run in pods.
#[derive(Debug, Args)]
pub struct PodArgs {
    /// Verbosity of the log, as in klog: up to 3 is info, 4 and 5 are debug, more is trace.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
    /// File that the result is written to for the kubelet. If it does not exist, nothing is written.
    #[arg(long, default_value = TERMINATION_LOG, env = "DECANT_TERMINATION_LOG")]
    pub termination_log: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
}

/// Settings for performance.
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

/// One thread per core, at most four (then the connection is the limit); one if the number of cores is unknown.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// What to check in addition to the digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// Read everything back from the disk, past the page cache, and compare.
    Readback,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
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
    /// The log level for the verbosity.
    pub fn level(&self) -> LevelFilter {
        match self.verbosity {
            0..=3 => LevelFilter::Info,
            4 | 5 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}
