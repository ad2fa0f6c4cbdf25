//! The command line of `kubectl decant`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use decant_shared::protocol::stream_id::STREAMS_LIMIT;
use decant_shared::protocol::units::{Rate, RateError, parse_quantity};

use crate::ending::Ending;
use decant_controller::objects::annotations::READBACK;

/// Clones volumes, shows how far clones are, and finds what is wrong.
#[derive(Debug, Parser)]
#[command(name = "kubectl-decant", bin_name = "kubectl decant", version, arg_required_else_help = true)]
#[command(after_help = Ending::help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which cluster, and where in it.
    #[command(flatten)]
    pub place: ClusterArgs,
}

/// Where: the flags of `kubectl` under their names.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The namespace; without it, that of the context
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig to use; without it $KUBECONFIG, which may name several, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How long one request may take, such as 10s or 1m; 0 for 30 s
    #[arg(long, global = true, value_name = "TIME", default_value = "0", value_parser = span)]
    pub request_timeout: Duration,
}

/// What the plugin can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Clone a PVC: make a DataVolume that asks for it
    Clone(CloneArgs),
    /// Show running clones with bars, and those that ended last
    Status(StatusArgs),
    /// Look for what is wrong with the installation or with clones
    Doctor(DoctorArgs),
    /// Delete what clones left behind
    Cleanup(CleanupArgs),
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// What to clone, and into what.
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// The PVC to clone, in the namespace of -n
    pub source: String,
    /// Name of the DataVolume and its PVC; without it, SOURCE-clone
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Namespace to clone into; without it, that of the source
    #[arg(long, value_name = "NAME")]
    pub to_namespace: Option<String>,
    /// Size of the new PVC, such as 20Gi; without it, that of the source
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<String>,
    /// Storage class of the new PVC; without it, the default one
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Bind the new PVC at once, although its class waits for the first pod that uses it
    #[arg(long)]
    pub immediate: bool,
    /// No more bytes on the wire than this: 50MiB/s, 400kB/s
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub limit: Option<String>,
    /// Connections that carry a large volume together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=STREAMS_LIMIT as i64))]
    pub streams: Option<u8>,
    /// What to check beyond the digests: readback reads everything back from the target's disk
    #[arg(long, value_name = "HOW", value_parser = [READBACK])]
    pub verify: Option<String>,
    /// Follow the clone to its end
    #[arg(long)]
    pub wait: bool,
    /// With --wait: how long to wait, such as 30m; 0 for ever
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = span, requires = "wait")]
    pub timeout: Duration,
    /// Print the DataVolume as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Which clones to show.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this DataVolume
    pub name: Option<String>,
    /// Go on showing changes: of one clone to its end, of all of them for ever
    #[arg(short, long)]
    pub follow: bool,
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// How many of those that ended to show
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub recent: u16,
    /// Print the clones as json or yaml; with --follow one document for each change
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Where to look.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Namespace that Decant is installed in
    #[arg(long, value_name = "NAME", default_value = "decant-system")]
    pub controller_namespace: String,
    /// Print the checks as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// What to delete.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Delete DataVolumes that succeeded, too; their PVCs and what is in them stay
    #[arg(long)]
    pub finished: bool,
    /// Only show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print what was found as json or yaml; deletes only together with --yes
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// A span as `kubectl` takes it: `90`, `30s`, `5m`, `1h30m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 30s, 5m or 1h30m");
    if let Ok(secs) = text.parse::<u32>() {
        return Ok(Duration::from_secs(secs.into()));
    }
    let (mut whole, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_secs: u64 = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            _ => return Err(wrong()),
        };
        whole += u64::from(number) * unit_secs;
        rest = &rest[digits + 1..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(whole)) }
}

/// A Kubernetes quantity, kept as it was written.
fn size(text: &str) -> Result<String, String> {
    match parse_quantity(text) {
        Ok(0) => Err("a volume cannot have no size at all".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(format!("not a size such as 20Gi: {e}")),
    }
}

/// A rate as the annotation takes it.
fn rate(text: &str) -> Result<String, RateError> {
    text.parse::<Rate>().map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use proptest::prelude::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_those_of_kubectl() {
        let secs = |text| span(text).map(|span| span.as_secs()).ok();
        assert_eq!(
            [secs("0"), secs("90"), secs("30s"), secs("1h30m")],
            [Some(0), Some(90), Some(30), Some(5400)]
        );
        assert_eq!([secs(""), secs("s"), secs("1x"), secs("1m30"), secs("-1"), secs("1é")], [None; 6]);
    }

    #[test]
    fn flags_are_accepted_before_and_after_the_command() {
        for line in [["kubectl-decant", "-n", "a", "status"], ["kubectl-decant", "status", "-n", "a"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().place.namespace.as_deref(), Some("a"));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,12}") {
            let _ = span(&text);
        }
    }
}
