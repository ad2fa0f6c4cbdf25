//! The source as a process, against a target that follows a script.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod archive;
mod change;
mod early;
mod hostile;
mod image;
mod input;
mod limits;
mod page;
mod process;
mod progress;
mod request;
mod retry;
mod scrape;
mod signals;
mod target;
mod trust;
