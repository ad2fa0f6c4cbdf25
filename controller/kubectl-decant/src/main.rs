//! `kubectl decant`: parses the command line and runs the command.
#![forbid(unsafe_code)]

use clap::Parser;
use kubectl_decant::{Cli, Ending};

fn main() -> Ending {
    decant_shared::process::panics::abort_on_panic();
    kubectl_decant::run(&Cli::parse())
}
