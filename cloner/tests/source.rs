//! The source as a process, against a target that follows a script.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod disks;
mod noise;
mod trees;

#[path = "source/certificates.rs"]
mod certificates;
#[path = "../../shared/tests/flood/mod.rs"]
mod flood;
#[path = "source/image.rs"]
mod image;
#[path = "source/process.rs"]
mod process;
#[path = "source/target.rs"]
mod target;

#[path = "source/archive.rs"]
mod archive;
#[path = "source/change.rs"]
mod change;
#[path = "source/early.rs"]
mod early;
#[path = "source/hostile.rs"]
mod hostile;
#[path = "source/input.rs"]
mod input;
#[path = "source/page.rs"]
mod page;
#[path = "source/progress.rs"]
mod progress;
#[path = "source/request.rs"]
mod request;
#[path = "source/retry.rs"]
mod retry;
#[path = "source/scrape.rs"]
mod scrape;
#[path = "source/signals.rs"]
mod signals;
#[path = "source/trust.rs"]
mod trust;
