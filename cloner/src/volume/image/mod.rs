//! Writing one disk image: onto a block device, or as a file.
//!
//! [`writer`] decides what is data and what is zeros; [`device`] and [`mod@file`] know what either means on
//! their medium.

pub mod device;
pub mod file;
pub mod in_archive;
pub mod leftover;
pub mod writer;

use std::fs::File;

use decant_shared::process::stop::Stop;

use crate::attributes::Kinds;
use crate::error::Result;

/// What an image is written to. Offsets ascend; every byte of the image is given exactly once, as data or as
/// zeros, and must read back as given whatever the medium held before.
pub trait Medium {
    /// Told once, before anything else, how many bytes the image has, when that is known. Refuses an image
    /// that does not fit ([`Kind::NoSpace`](crate::error::Kind::NoSpace)).
    fn expect(&mut self, size_bytes: u64) -> Result<()>;

    /// The image has at least `end` bytes: said before zeros up to there are counted, because those cost their sender
    /// nothing. Refuses what the medium cannot hold.
    fn reach(&mut self, end: u64) -> Result<()>;

    /// The open file or device, to be synced while it is written.
    fn file(&self) -> std::io::Result<File>;

    /// Writes data.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes `len` bytes zero, as cheaply as the medium allows; where they have to be written, until `stop` is set.
    fn zero(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()>;

    /// The image is complete and has `size_bytes`: makes it durable. Returns only when it is, or when `stop` is set while it
    /// has to be filled up.
    fn seal(&mut self, size_bytes: u64, stop: &Stop) -> Result<()>;

    /// The sealed image, to be read back.
    fn readable(&self) -> std::io::Result<File>;

    /// What the sealed image could not be given.
    fn lost(&self) -> Kinds {
        Kinds::default()
    }

    /// Gives the sealed image its name.
    fn publish(&mut self) -> Result<()>;
}
