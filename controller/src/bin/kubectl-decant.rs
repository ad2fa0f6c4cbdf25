//! `kubectl decant`: reads the command line and runs what it says.
#![forbid(unsafe_code)]

use clap::Parser;
use decant_controller::plugin::{self, Cli, Ending};

fn main() -> Ending {
    decant_shared::process::panics::end_the_process();
    plugin::run(&Cli::parse())
}
