//! `kubectl decant`: reads the command line and runs what it says.
#![forbid(unsafe_code)]

use clap::Parser;
use kubectl_decant::{Cli, Ending};

fn main() -> Ending {
    decant_shared::process::panics::abort_on_panic();
    kubectl_decant::run(&Cli::parse())
}
