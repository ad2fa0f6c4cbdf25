//! What becomes of an archive on disk: a tree, or the image in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

mod find_image;
mod formats;
mod full;
mod hostile;
mod tree;
mod unpacking;
