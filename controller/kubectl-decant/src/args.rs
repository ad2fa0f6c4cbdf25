//! The command line of `kubectl decant`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use decant_shared::protocol::stream_id::STREAMS_LIMIT;
use decant_shared::protocol::units::{Rate, RateError, parse_quantity};

use crate::ending::Ending;
use decant_controller::objects::annotations::READBACK;

/// Clones volumes, shows the progress of clones, and finds problems.
#[derive(Debug, Parser)]
#[command(name = "kubectl-decant", bin_name = "kubectl decant", version, arg_required_else_help = true)]
#[command(after_help = Ending::help())]
pub struct Cli {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: Command,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub place: ClusterArgs,
}

/// Flags with the names and meanings of `kubectl`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The namespace; by default, that of the context
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig to use; by default $KUBECONFIG, which may name several, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Time limit of one request, such as 10s or 1m; 0 for 30 s
    #[arg(long, global = true, value_name = "TIME", default_value = "0", value_parser = duration)]
    pub request_timeout: Duration,
}

/// The commands of the plugin.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Clone a PVC: create a DataVolume, or with --as-claim a PVC, that requests it
    Clone(CloneArgs),
    /// Show running clones with progress bars, and the clones that ended last
    Status(StatusArgs),
    /// Find problems of the installation and of clones
    Doctor(DoctorArgs),
    /// Delete what clones left over
    Cleanup(CleanupArgs),
    /// Copy a DataVolume of CDI that is stuck in a clone by a CSI driver or a snapshot, under the same name
    Rescue(RescueArgs),
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Flags of `clone`.
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// The PVC to clone, in the namespace of -n
    pub source: String,
    /// Name of the new PVC and of the DataVolume or CloneSource; by default SOURCE-clone
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Namespace to clone into; by default that of the source
    #[arg(long, value_name = "NAME")]
    pub to_namespace: Option<String>,
    /// Size of the new PVC, such as 20Gi; by default that of the source
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<String>,
    /// Storage class of the new PVC; by default the default class of the cluster
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Bind the new PVC immediately, even if its class waits for the first pod that uses it
    #[arg(long)]
    pub immediate: bool,
    /// Limit of the network rate: 50MiB/s, 400kB/s
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub limit: Option<String>,
    /// Number of connections for a large volume
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=STREAMS_LIMIT as i64))]
    pub streams: Option<u8>,
    /// Verification beyond the digests: readback reads all data back from the disk of the target
    #[arg(long, value_name = "HOW", value_parser = [READBACK])]
    pub verify: Option<String>,
    /// Create a PVC and a CloneSource that fills it before it is bound, instead of a DataVolume
    #[arg(long)]
    pub as_claim: bool,
    /// Wait for the end of the clone and show its progress
    #[arg(long)]
    pub wait: bool,
    /// With --wait: time limit, such as 30m; 0 for none
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
    /// Print the DataVolume or PVC as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show only this DataVolume, or this PVC without a DataVolume; pvc/NAME names only a PVC
    pub name: Option<String>,
    /// Keep showing changes: of one clone until it ends, of all clones until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Show clones of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Number of ended clones to show
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub recent: u16,
    /// Print the clones as json or yaml; with --follow one document for each change
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Namespace of the Decant installation
    #[arg(long, value_name = "NAME", default_value = "decant-system")]
    pub controller_namespace: String,
    /// Print the checks as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Flags of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Search all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Also delete DataVolumes that succeeded; their PVCs and data are kept
    #[arg(long)]
    pub finished: bool,
    /// Only list what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print the leftovers as json or yaml; deletes only with --yes
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Flags of `rescue`.
#[derive(Debug, Args)]
pub struct RescueArgs {
    /// The DataVolume
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only explain the cause and list what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Where the objects are written before anything is deleted, and where an interrupted rescue is found
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub directory: PathBuf,
    /// How long to wait until the earlier objects are gone, such as 5m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
    /// Namespace of the Decant installation
    #[arg(long, value_name = "NAME", default_value = "decant-system")]
    pub controller_namespace: String,
}

/// Parses a duration like `kubectl`: `90`, `30s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 30s, 5m or 1h30m");
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

/// Checks a Kubernetes quantity; the text is kept unchanged.
fn size(text: &str) -> Result<String, String> {
    match parse_quantity(text) {
        Ok(0) => Err("a volume cannot have size 0".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(format!("not a size such as 20Gi: {e}")),
    }
}

/// Checks a rate; the text is kept unchanged for the annotation.
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
    fn durations_are_those_of_kubectl() {
        let secs = |text| duration(text).map(|time| time.as_secs()).ok();
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
            let _ = duration(&text);
        }
    }
}
