//! The reader of archives, against archives made by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

mod damage;
mod read;
mod read_all;
