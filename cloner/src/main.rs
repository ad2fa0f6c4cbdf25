//! The cloner: reads the command line and the environment, runs one role, ends with its exit code.
#![forbid(unsafe_code)]

use std::io::Write;

use ::log::LevelFilter;
use clap::Parser;
use decant_cloner::args::{Cli, Command, LogFormat};
use decant_cloner::environment::Environment;
use decant_cloner::error::{Error, Kind, Result};
use decant_cloner::pod_words::from_pod;
use decant_cloner::{copy, role};
use decant_shared::exit::Exit;
use decant_shared::log;
use decant_shared::signal;
use decant_shared::stop::Stop;

fn main() -> Exit {
    let environment = Environment::of_process();
    let cli = Cli::parse_from(from_pod(std::env::args_os().collect(), &environment));
    match run(&cli, &environment) {
        Ok(()) => Exit::Done,
        Err(error) => {
            report(&cli, &error);
            error.exit()
        }
    }
}

fn run(cli: &Cli, environment: &Environment) -> Result<()> {
    log::init(cli.log_format.into(), level(cli));
    let stop = Stop::new();
    signal::watch(&stop).map_err(|e| Error::io(Kind::Failed, "cannot watch for signals", e))?;
    match &cli.command {
        Command::Copy(args) => copy::run(args, cli.log_format, &stop),
        Command::Source(args) => role::source::run(args, environment, &stop),
        Command::Target(args) => role::target::run(args, environment, &stop),
    }
}

fn level(cli: &Cli) -> LevelFilter {
    match (&cli.command, cli.log_format) {
        (Command::Copy(args), _) if args.quiet => LevelFilter::Error,
        // A person reads the bar; a program reads the records.
        (Command::Copy(_), LogFormat::Text) => LevelFilter::Warn,
        (Command::Copy(_), LogFormat::Json) => LevelFilter::Info,
        (Command::Source(args), _) => args.pod.level(),
        (Command::Target(args), _) => args.pod.level(),
    }
}

/// One line that names the thing and says what happened.
fn report(cli: &Cli, error: &Error) {
    match (&cli.command, cli.log_format) {
        (Command::Copy(_), LogFormat::Text) => {
            // Nothing can be done about a closed stderr; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "cloner: {error}");
        }
        _ => ::log::error!("{error}"),
    }
}
