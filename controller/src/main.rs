//! The controller of Decant: reads the command line and runs what it says.
#![forbid(unsafe_code)]

use std::sync::Arc;

use clap::Parser;
use decant_controller::args::{Cli, Command, RunArgs};
use decant_controller::cluster::Cluster;
use decant_controller::kube::KubeCluster;
use decant_controller::run::{Settings, run};
use decant_shared::exit::Exit;
use decant_shared::stop::Stop;

fn main() -> Exit {
    match Cli::parse().command {
        Command::Run(args) => start(&args),
        Command::Crds => {
            #[allow(clippy::print_stdout)] // It is what was asked for.
            {
                print!("{}", decant_controller::crds::manifest());
            }
            Exit::Done
        }
    }
}

fn start(args: &RunArgs) -> Exit {
    decant_shared::log::init(args.log_format, args.log_level, Box::new(std::io::stderr()));
    let stop = Stop::new();
    if let Err(e) = decant_shared::signal::watch(&stop) {
        log::error!("signals cannot be watched: {e}");
        return Exit::Failed;
    }
    let cluster: Arc<dyn Cluster> = match KubeCluster::connect(args.kubeconfig.as_deref()) {
        Ok(cluster) => Arc::new(cluster),
        Err(e) => {
            log::error!("{e}");
            return Exit::Usage;
        }
    };
    let settings = Settings {
        namespace: args.namespace.clone(),
        watch_namespace: args.watch_namespace.clone(),
        workers: args.workers.into(),
        pollers: args.pollers.into(),
    };
    match run(&cluster, args.policy(), &settings, &stop) {
        // A controller that was asked to end has done its work.
        Ok(()) => Exit::Done,
        Err(e) => {
            log::error!("{e}");
            Exit::Failed
        }
    }
}
