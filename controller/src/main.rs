//! The controller of Decant: reads the command line and runs what it says.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use decant_controller::args::{Cli, Command, RunArgs};
use decant_controller::board::Board;
use decant_controller::calls::Counted;
use decant_controller::cluster::Cluster;
use decant_controller::kube::KubeCluster;
use decant_controller::lease::{self, Leader};
use decant_controller::pages;
use decant_controller::resource::Key;
use decant_controller::run::run;
use decant_controller::token::TokenKey;
use decant_controller::webhook::{self, Webhook};
use decant_shared::exit::Exit;
use decant_shared::stop::Stop;

/// For reviews that are being decided when the process ends.
const WEBHOOK_END: Duration = Duration::from_secs(5);
/// For answers that are on their way when the process ends.
const PAGES_END: Duration = Duration::from_secs(1);

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
    let calls = match KubeCluster::connect(args.kubeconfig.as_deref()) {
        Ok(cluster) => Arc::new(Counted::new(cluster)),
        Err(e) => {
            log::error!("{e}");
            return Exit::Usage;
        }
    };
    let cluster: Arc<dyn Cluster> = calls.clone();
    let leader = (!args.no_leader_election).then(|| {
        let key = Key::new(&args.namespace, lease::NAME);
        Leader::new(Arc::clone(&cluster), key, args.identity())
    });
    let board = Arc::new(Board::new(calls, leader.clone()));
    let pages = match pages::serve(args.listen, &board, args.status_page, &stop) {
        Ok(server) => server,
        Err(e) => {
            log::error!("{e}");
            return Exit::Usage;
        }
    };
    let webhook =
        match args.webhook_listen.map(|address| serve_webhook(args, address, &cluster, &stop)).transpose() {
            Ok(webhook) => webhook,
            Err(e) => {
                log::error!("{e}");
                return Exit::Failed;
            }
        };
    let result =
        lead(leader, &stop, |term| run(&cluster, args.policy(), &args.settings(), Some(&board), term));
    // The API server waits for this answer before it refuses what users want.
    if let Some(webhook) = webhook {
        webhook.shut_down(WEBHOOK_END);
    }
    pages.shut_down(PAGES_END);
    match result {
        // A controller that was asked to end has done its work.
        Ok(()) => Exit::Done,
        Err(e) => {
            log::error!("{e}");
            Exit::Failed
        }
    }
}

/// Every replica serves the webhook, whether it acts or stands by.
fn serve_webhook(
    args: &RunArgs,
    address: SocketAddr,
    cluster: &Arc<dyn Cluster>,
    stop: &Stop,
) -> Result<Webhook, String> {
    let failed =
        |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --webhook-listen");
    let settings = webhook::Settings {
        cluster: Arc::clone(cluster),
        keys: Arc::new(TokenKey::load(&**cluster, &args.namespace)?),
        own_user: format!("system:serviceaccount:{}:{}", args.namespace, args.service_account),
        claim_adoption: args.claim_adoption,
        identity: webhook::identity_of(
            Arc::clone(cluster),
            args.namespace.clone(),
            args.webhook_service.clone(),
        ),
        callers: args.callers(),
    };
    Webhook::start(settings, TcpListener::bind(address).map_err(failed)?, stop.clone())
}

/// Does `work` whenever the Lease is ours, until a stop. When it is lost the work stops at once, and this process
/// waits for its turn again: an API server that restarts takes longer than a Lease may go without renewal.
fn lead(
    leader: Option<Leader>,
    stop: &Stop,
    work: impl Fn(&Stop) -> Result<(), String>,
) -> Result<(), String> {
    let Some(leader) = leader else { return work(stop) };
    while let Some(held) = leader.acquire(stop) {
        let term = stop.child();
        let lost = {
            let term = term.clone();
            move |why: String| {
                log::warn!("{why}: standing by");
                term.cancel();
            }
        };
        let keeper = held.keep(lost).map_err(|e| format!("a thread cannot be started: {e}"))?;
        let result = work(&term);
        let is_lost = !leader.is_leader();
        keeper.release();
        if !is_lost {
            return result;
        }
    }
    Ok(())
}
