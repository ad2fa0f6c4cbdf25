//! The controller of Decant: parses the command line and runs the command.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::Cluster;
use decant_controller::api::counted::Counted;
use decant_controller::cli::{Cli, Command, GateArgs, ProcessArgs, RunArgs, WebhookArgs};
use decant_controller::leader::hold::Leader;
use decant_controller::leader::lease;
use decant_controller::objects::Key;
use decant_controller::pages::health::HealthState;
use decant_controller::pages::probes::Readiness;
use decant_controller::pages::{probes, server};
use decant_controller::run::run;
use decant_controller::token::key::TokenKey;
use decant_controller::webhook::serve::Webhook;
use decant_controller::webhook::{identity, serve};
use decant_shared::net::dial;
use decant_shared::net::http::server::Server;
use decant_shared::process::descriptor_limit;
use decant_shared::process::panics;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::exit_code::Exit;

/// Time limit for open reviews when the process ends.
const WEBHOOK_END: Duration = Duration::from_secs(5);
/// Time limit for open responses when the process ends.
const PAGES_END: Duration = Duration::from_secs(1);
/// The webhook process waits for a stop in intervals of this length.
const STOP_LOOK: Duration = Duration::from_secs(3600);

fn main() -> Exit {
    panics::abort_on_panic();
    match Cli::parse().command {
        Command::Run(args) => start(&args.process, |process| run_controller(&args, process)),
        Command::Webhook(args) => start(&args.process, |process| run_webhook(&args, process)),
        Command::Crds => {
            #[allow(clippy::print_stdout)] // The output of the command.
            {
                print!("{}", decant_controller::objects::crds::manifest());
            }
            Exit::Done
        }
    }
}

/// A started process.
struct Process {
    stop: Stop,
    calls: Arc<Counted<KubeCluster>>,
}

impl Process {
    fn cluster(&self) -> Arc<dyn Cluster> {
        self.calls.clone()
    }
}

/// Sets up log, signals and connection; then runs `work`.
fn start(args: &ProcessArgs, work: impl FnOnce(&Process) -> Exit) -> Exit {
    decant_shared::process::log::init(args.log_format, args.log_level, Box::new(std::io::stderr()));
    descriptor_limit::raise_limit();
    let stop = Stop::new();
    if let Err(e) = decant_shared::process::signal::watch(&stop) {
        log::error!("cannot handle signals: {e}");
        return Exit::Failed;
    }
    match KubeCluster::connect(args.kubeconfig.as_deref()) {
        Ok(cluster) => work(&Process { stop, calls: Arc::new(Counted::new(cluster)) }),
        Err(e) => {
            log::error!("{e}");
            Exit::Usage
        }
    }
}

fn run_controller(args: &RunArgs, process: &Process) -> Exit {
    if let Err(e) = args.check() {
        log::error!("{e}");
        return Exit::Usage;
    }
    let stop = &process.stop;
    let cluster = process.cluster();
    let leader = (!args.no_leader_election).then(|| {
        let key = Key::new(&args.process.namespace, lease::NAME);
        Leader::new(Arc::clone(&cluster), key, args.identity())
    });
    let health = Arc::new(HealthState::new(Arc::clone(&process.calls), leader.clone()));
    let pages = server::serve(args.listen, &health, args.status_page, stop);
    let (pages, probes) = match with_probes(pages, &args.process, server::readiness(&health), stop) {
        Ok(servers) => servers,
        Err(e) => {
            log::error!("{e}");
            return Exit::Usage;
        }
    };
    let webhook = args
        .webhook_listen
        .map(|address| serve_webhook(&args.process, &args.gate, address, &cluster, stop))
        .transpose();
    let webhook = match webhook {
        Ok(webhook) => webhook,
        Err(e) => {
            log::error!("{e}");
            return Exit::Failed;
        }
    };
    let result =
        lead(leader, stop, |term| run(&cluster, args.policy(), &args.settings(), Some(&health), term));
    // The API server waits for open reviews before it fails the requests of users.
    if let Some(webhook) = webhook {
        webhook.shut_down(WEBHOOK_END);
    }
    pages.shut_down(PAGES_END);
    probes.map(|probes| probes.shut_down(PAGES_END));
    match result {
        // A stop is a successful end.
        Ok(()) => Exit::Done,
        Err(e) => {
            log::error!("{e}");
            Exit::Failed
        }
    }
}

fn run_webhook(args: &WebhookArgs, process: &Process) -> Exit {
    let stop = &process.stop;
    let cluster = process.cluster();
    let serves = Arc::new(AtomicBool::new(false));
    let ready: Readiness =
        {
            let serves = Arc::clone(&serves);
            Arc::new(move || {
                if serves.load(Ordering::Acquire) { Ok(()) } else { Err("the webhook has not started yet") }
            })
        };
    let pages = server::serve_calls(args.listen, &process.calls, Arc::clone(&ready), stop);
    let (pages, probes) = match with_probes(pages, &args.process, ready, stop) {
        Ok(servers) => servers,
        Err(e) => {
            log::error!("{e}");
            return Exit::Usage;
        }
    };
    let webhook = match serve_webhook(&args.process, &args.gate, args.webhook_listen, &cluster, stop) {
        Ok(webhook) => webhook,
        Err(e) => {
            log::error!("{e}");
            return Exit::Failed;
        }
    };
    serves.store(true, Ordering::Release);
    while stop.sleep(STOP_LOOK) {}
    webhook.shut_down(WEBHOOK_END);
    pages.shut_down(PAGES_END);
    probes.map(|probes| probes.shut_down(PAGES_END));
    Exit::Done
}

/// Adds the server of the probes, if it has an address.
fn with_probes(
    pages: Result<Server, String>,
    args: &ProcessArgs,
    ready: Readiness,
    stop: &Stop,
) -> Result<(Server, Option<Server>), String> {
    let probes = args.probe_listen.map(|address| probes::serve(address, ready, stop)).transpose()?;
    Ok((pages?, probes))
}

/// Every replica serves the webhook, leader or standby.
fn serve_webhook(
    process: &ProcessArgs,
    gate: &GateArgs,
    address: SocketAddr,
    cluster: &Arc<dyn Cluster>,
    stop: &Stop,
) -> Result<Webhook, String> {
    let failed =
        |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another with --webhook-listen");
    let settings = serve::WebhookSettings {
        cluster: Arc::clone(cluster),
        keys: Arc::new(TokenKey::load(&**cluster, &process.namespace)?),
        own_user: format!("system:serviceaccount:{}:{}", process.namespace, gate.service_account),
        claim_adoption: gate.claim_adoption,
        identity: identity::identity_of(
            Arc::clone(cluster),
            process.namespace.clone(),
            gate.webhook_service.clone(),
        ),
        callers: gate.callers(),
    };
    let listener = dial::listen(Some(address.ip()), address.port()).map_err(failed)?;
    Webhook::start(settings, listener, stop.clone())
}

/// Runs `work` while this process holds the Lease, until a stop. When the Lease is lost, the work stops immediately and
/// the process waits for the Lease again: a restart of the API server takes longer than a Lease is valid without a
/// renewal.
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
                log::warn!("{why}: now a standby");
                term.cancel();
            }
        };
        let keeper = held.keep(lost).map_err(|e| format!("cannot start a thread: {e}"))?;
        let result = work(&term);
        let is_lost = !leader.is_leader();
        keeper.release();
        if !is_lost {
            return result;
        }
    }
    Ok(())
}
