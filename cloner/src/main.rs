//! The cloner.
#![forbid(unsafe_code)]

fn main() {}
