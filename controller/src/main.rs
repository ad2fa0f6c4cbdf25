//! The controller of Decant.
//!
//! It only tells its version so far; the data path in `cloner/` comes first.
#![forbid(unsafe_code)]

use clap::Parser;

/// Watches DataVolumes and clones what they ask for (not in this release: it only prints its version).
#[derive(Debug, Parser)]
#[command(name = "controller", version, arg_required_else_help = true)]
struct Args {}

fn main() {
    Args::parse();
}
