//! Writes a disk image to a block device or a file.
//!
//! [`writer`] decides which bytes are data and which are zeros. [`device`] and [`mod@file`] write both to their medium.

pub mod device;
pub mod file;
pub mod in_archive;
pub mod leftover;
pub mod writer;

use std::fs::File;

use decant_shared::process::stop::Stop;

use crate::attributes::Kinds;
use crate::error::Result;
use crate::stream::ShareOffer;

/// The medium of an image. Offsets ascend, and every byte of the image is passed exactly once, as data or as zeros. The
/// image must read back as passed, whatever the medium contained.
pub trait Medium {
    /// Announces that the image has `size_bytes`. Called once, before all other calls, if the size is known. Refuses an
    /// image that does not fit ([`Kind::NoSpace`](crate::error::Kind::NoSpace)).
    fn expect(&mut self, size_bytes: u64) -> Result<()>;

    /// Announces that the image has at least `end` bytes. Called before zeros up to `end` are hashed, because a sender
    /// can claim any number of zeros. Refuses an image that does not fit.
    fn reach(&mut self, end: u64) -> Result<()>;

    /// The open file or device. It is synced while it is written.
    fn file(&self) -> std::io::Result<File>;

    /// Writes data.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Zeroes `len` bytes in the cheapest way that the medium supports. If zeros have to be written, `stop` ends that.
    fn zero(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()>;

    /// Shares the blocks of the offered file, if the medium supports that, and answers the offer. Called before anything
    /// else is written.
    fn share(&mut self, offer: &ShareOffer) -> Result<()> {
        let _ = offer;
        Ok(())
    }

    /// Makes the complete image of `size_bytes` durable. `stop` only ends filling it up to its full size.
    fn seal(&mut self, size_bytes: u64, stop: &Stop) -> Result<()>;

    /// The sealed image, to be read back.
    fn readable(&self) -> std::io::Result<File>;

    /// Attributes that the sealed image could not get.
    fn lost(&self) -> Kinds {
        Kinds::default()
    }

    /// Gives the sealed image its final name.
    fn publish(&mut self) -> Result<()>;
}
