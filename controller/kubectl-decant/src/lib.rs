//! `kubectl decant`: what people ask about clones, as a second program beside the controller.
//!
//! It reads and writes the same objects as everybody else: nothing here talks to the controller, and nothing needs
//! rights that `kubectl` would not need.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod args;
mod bar;
mod cleanup;
mod clone;
mod doctor;
mod ending;
mod follow;
mod leftovers;
mod output;
mod screen;
mod session;
mod status;
mod untold;

use crate::ending::Failure;
use crate::session::Session;
pub use args::{CleanupArgs, Cli, CloneArgs, ClusterArgs, Command, DoctorArgs, Output, StatusArgs};
pub use ending::Ending;

/// Does what `cli` says, and says on standard error why it could not.
pub fn run(cli: &Cli) -> Ending {
    Session::open(&cli.place).and_then(|session| carry_out(&session, &cli.command)).unwrap_or_else(
        |failure| {
            let prefix = if failure.ending == Ending::Usage { "error: " } else { "" };
            output::complain(&format!("{prefix}{failure}"));
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
    };
    result.map_err(|failure| failure.at(&session.server))
}
