//! The cloner: reads the command line and the environment, runs one command, and exits with its exit code.
#![forbid(unsafe_code)]

use ::log::LevelFilter;
use clap::Parser;
use decant_cloner::commands::cdi_args::from_pod;
use decant_cloner::commands::cli::{Cli, Command, LogFormat};
use decant_cloner::commands::copy::screen::AroundBar;
use decant_cloner::commands::environment::Environment;
use decant_cloner::commands::prep_pod::{Called, called};
use decant_cloner::commands::{self, copy};
use decant_cloner::error::{Error, Kind, Result};
use decant_shared::process::descriptor_limit;
use decant_shared::process::log::{self, Format};
use decant_shared::process::panics;
use decant_shared::process::signal;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::exit_code::Exit;

fn main() -> Exit {
    // A panic must end the pod: what the thread should have written or verified is missing.
    panics::abort_on_panic();
    let environment = Environment::of_process();
    let arguments: Vec<_> = std::env::args_os().collect();
    match called(&arguments) {
        Called::Cloner => {}
        Called::Prep => return Exit::Done,
        Called::Shell => {
            #[allow(clippy::print_stderr, reason = "there is no logger yet")]
            {
                eprintln!("bash: this image has no shell; /bin/bash only answers CDI's prep pods");
            }
            return Exit::Usage;
        }
    }
    let cli = Cli::parse_from(from_pod(arguments, &environment));
    match run(&cli, &environment) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // One line that names the object and what happened.
            ::log::error!("{error}");
            error.exit()
        }
    }
}

fn run(cli: &Cli, environment: &Environment) -> Result<()> {
    log::init(format(cli), level(cli), Box::new(AroundBar));
    descriptor_limit::raise_limit();
    let stop = Stop::new();
    signal::watch_terminal(&stop).map_err(|e| Error::io(Kind::Failed, "cannot watch for signals", e))?;
    match &cli.command {
        Command::Digest(args) => commands::digest::run(args, &stop),
        Command::Copy(args) => copy::run(args, cli.log_format, &stop),
        Command::Direct(args) => commands::direct::run(args, environment, &stop),
        Command::Source(args) => commands::source::run(args, environment, &stop),
        Command::Target(args) => commands::target::run(args, environment, &stop),
    }
}

fn format(cli: &Cli) -> Format {
    match (&cli.command, cli.log_format) {
        (Command::Copy(_) | Command::Digest(_), LogFormat::Text) => Format::Plain,
        (_, format) => format.into(),
    }
}

fn level(cli: &Cli) -> LevelFilter {
    match (&cli.command, cli.log_format) {
        (Command::Copy(args), _) if args.quiet => LevelFilter::Error,
        // A person reads the progress bar; a program reads the log records.
        (Command::Copy(_), LogFormat::Text) => LevelFilter::Warn,
        (Command::Copy(_), LogFormat::Json) => LevelFilter::Info,
        (Command::Digest(_), _) => LevelFilter::Warn,
        (Command::Direct(args), _) => args.pod.level(),
        (Command::Source(args), _) => args.pod.level(),
        (Command::Target(args), _) => args.pod.level(),
    }
}
