//! The command line: what was typed, as values. Nothing here opens, reads or starts anything.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use decant_shared::contract::TERMINATION_LOG;
use decant_shared::exit::Exit;
use decant_shared::log::Format;
use log::LevelFilter;

use crate::environment::Environment;

/// Clones a volume: both ends of a copy on this machine, or one end of it in a pod.
///
/// Without a command the role follows from the environment, as in the pods that CDI makes: UPLOAD_URL makes
/// it a source; CLIENT_NAME together with TLS_CERT_FILE or TLS_CERT makes it a target.
#[derive(Debug, Parser)]
#[command(name = "cloner", version, after_long_help = exit_codes())]
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
    /// Copies a file, block device or folder on this machine, over the same path as between pods.
    Copy(CopyArgs),
    /// Sends a volume to a target pod (configured like CDI's cloner).
    Source(SourceArgs),
    /// Receives a volume from a source pod (configured like CDI's upload server).
    Target(TargetArgs),
}

/// Arguments of `cloner copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The file, block device or folder to copy.
    pub source: PathBuf,
    /// Where to: a new file, a block device, a new or empty folder. A file goes into a folder that exists.
    pub target: PathBuf,
    /// Replace what the target holds.
    #[arg(long, short)]
    pub force: bool,
    /// Allocate every byte at the target, holes included.
    #[arg(long)]
    pub preallocate: bool,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
}

/// Arguments of `cloner source`; CDI's own flags are taken with one dash or two.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// What travels: filesystem-clone or blockdevice-clone. Default: from VOLUME_MODE.
    #[arg(long)]
    pub content_type: Option<String>,
    /// The folder or device to read. Default: MOUNT_POINT.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// Expected bytes, for progress; used only where the volume cannot be measured.
    #[arg(long, default_value_t = 0)]
    pub upload_bytes: u64,
    /// Port of the metrics page (0: any free port).
    #[arg(long, default_value_t = decant_shared::contract::TLS_PORT, env = "DECANT_METRICS_PORT")]
    pub metrics_port: u16,
    /// For how long a target that is not there yet, or busy, is asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, env = "DECANT_RETRY_SECS")]
    pub retry_secs: u64,
    /// How long a target may take nothing before it counts as stalled.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 300, env = "DECANT_STALL_SECS")]
    pub stall_secs: u64,
    /// How long a target that has everything may take to answer: it syncs its disk in that time.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 3600, env = "DECANT_ANSWER_SECS")]
    pub answer_secs: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
}

/// Arguments of `cloner target`; everything else is environment, as in CDI's upload server.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Folder of a filesystem volume. Default: the folder of DESTINATION, which is /data.
    #[arg(long)]
    pub mount: Option<PathBuf>,
    /// Plain-text port that answers /healthz only, for CDI up to 1.60 (0: none).
    #[arg(long, default_value_t = decant_shared::contract::PLAIN_HEALTH_PORT, env = "DECANT_PLAIN_HEALTH_PORT")]
    pub plain_health_port: u16,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pod: PodArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tuning: Tuning,
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

/// Rewrites the arguments of CDI's pods into ours: long flags with one dash get their second one, klog's
/// flags that have no meaning here are dropped, and where no command is given the environment's role is.
pub fn from_pod(words: Vec<OsString>, environment: &Environment) -> Vec<OsString> {
    let mut words = words.into_iter();
    let program: Vec<OsString> = words.next().into_iter().collect();
    let mut out = Vec::new();
    let mut drop_value = false;
    for word in words {
        if std::mem::take(&mut drop_value) {
            continue;
        }
        match word.to_str().and_then(klog_flag) {
            Some(takes_value) => drop_value = takes_value,
            None => out.push(with_two_dashes(word)),
        }
    }
    let role = if names_command(&out) { None } else { role_of(environment) };
    program.into_iter().chain(role.map(OsString::from)).chain(out).collect()
}

/// Whether the first word that is not a flag is a command of ours.
fn names_command(words: &[OsString]) -> bool {
    let first = words.iter().filter_map(|word| word.to_str()).find(|word| !word.starts_with('-'));
    matches!(first, Some("copy" | "source" | "target" | "help"))
}

/// The role that the environment asks for.
fn role_of(environment: &Environment) -> Option<&'static str> {
    let certificate = environment.has("TLS_CERT_FILE") || environment.has("TLS_CERT");
    if environment.has("UPLOAD_URL") {
        Some("source")
    } else if certificate && environment.has("CLIENT_NAME") {
        Some("target")
    } else {
        None
    }
}

/// Whether `word` is a flag of klog that we ignore, and if so whether the next word is its value.
fn klog_flag(word: &str) -> Option<bool> {
    const SWITCHES: [&str; 7] = [
        "alsologtostderr",
        "logtostderr",
        "add_dir_header",
        "one_output",
        "skip_headers",
        "skip_log_headers",
        "legacy_stderr_threshold_behavior",
    ];
    const VALUES: [&str; 6] =
        ["log_backtrace_at", "log_dir", "log_file", "log_file_max_size", "stderrthreshold", "vmodule"];
    let (name, value) = split_flag(word)?;
    if SWITCHES.contains(&name) {
        Some(false)
    } else if VALUES.contains(&name) {
        Some(value.is_none())
    } else {
        None
    }
}

/// `-name` or `--name`, with or without `=value`.
fn split_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value))))
}

fn with_two_dashes(word: OsString) -> OsString {
    let single = word.to_str().filter(|text| !text.starts_with("--")).and_then(split_flag);
    if !matches!(single, Some(("content-type" | "mount" | "upload-bytes", _))) {
        return word;
    }
    let mut flag = OsString::from("-");
    flag.push(OsStr::new(&word));
    flag
}

fn exit_codes() -> String {
    let lines: Vec<String> = Exit::ALL.iter().map(|exit| format!("  {exit}")).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, environment: &Environment) -> Cli {
        let words = line.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(from_pod(words, environment)).unwrap()
    }

    #[test]
    fn the_words_of_cdis_startup_script_make_a_source() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        for line in [
            "cloner -v=3 -alsologtostderr -content-type filesystem-clone -upload-bytes 77 -mount /x",
            "cloner --v=3 --alsologtostderr=true --content-type=filesystem-clone --upload-bytes=77 --mount=/x",
        ] {
            let Command::Source(args) = parse(line, &environment).command else { panic!("{line}") };
            assert_eq!(args.content_type.as_deref(), Some("filesystem-clone"));
            assert_eq!((args.upload_bytes, args.pod.verbosity), (77, 3));
            assert_eq!(args.mount, Some(PathBuf::from("/x")));
        }
    }

    #[test]
    fn both_generations_of_target_environments_make_a_target() {
        for name in ["TLS_CERT_FILE", "TLS_CERT"] {
            let environment = Environment::from([(name, "x"), ("CLIENT_NAME", "y")]);
            let cli = parse("cloner -v=1 -alsologtostderr -stderrthreshold 2", &environment);
            assert!(matches!(cli.command, Command::Target(_)), "{name}");
        }
    }

    #[test]
    fn a_command_wins_over_the_environment() {
        let environment = Environment::from([("UPLOAD_URL", "https://x/")]);
        assert!(matches!(parse("cloner copy a b", &environment).command, Command::Copy(_)));
        assert!(matches!(parse("cloner --log-format=json copy a b", &environment).command, Command::Copy(_)));
    }

    #[test]
    fn without_command_and_environment_the_usage_is_shown() {
        assert!(Cli::try_parse_from(from_pod(vec!["cloner".into()], &Environment::default())).is_err());
    }
}
