//! `kubectl decant`: starts, shows and checks clones.
//!
//! It reads and writes the same objects as `kubectl` and needs no other rights; it never talks to the controller. Each
//! command is a module: `clone`, `status`, `doctor`, `cleanup`, `rescue`. `follow` watches clones, `screen` draws on a
//! terminal.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod args;
mod as_claim;
mod beside_cdi;
mod cleanup;
mod clone;
mod doctor;
mod ending;
mod follow;
mod output;
mod populations;
mod rescue;
mod screen;
mod session;
mod status;
mod unreported;

use crate::ending::Failure;
use crate::session::Session;
pub use args::{
    CleanupArgs, Cli, CloneArgs, ClusterArgs, Command, DoctorArgs, Output, RescueArgs, StatusArgs,
};
pub use ending::Ending;

/// Runs the command. Prints the reason of a failure on standard error.
pub fn run(cli: &Cli) -> Ending {
    Session::open(&cli.place).and_then(|session| carry_out(&session, &cli.command)).unwrap_or_else(
        |failure| {
            let prefix = if failure.ending == Ending::Usage { "error: " } else { "" };
            output::print_error(&format!("{prefix}{failure}"));
            failure.ending
        },
    )
}

fn carry_out(session: &Session, command: &Command) -> Result<Ending, Failure> {
    let result = match command {
        Command::Clone(args) => clone::run(session, args),
        Command::Status(args) => status::run(session, args),
        Command::Doctor(args) => doctor::run(session, args),
        Command::Cleanup(args) => cleanup::run(session, args),
        Command::Rescue(args) => rescue::run(session, args),
    };
    result.map_err(|failure| failure.at(&session.server))
}
