//! Counts the bytes that go into the stream.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::stream::{Purpose, Run, Sink};

/// Counts the bytes that go into a sink. Without a sink the bytes are dropped.
pub(crate) struct CountingSink<'a> {
    sink: Option<&'a mut dyn Sink>,
    bytes: u64,
}

impl<'a> CountingSink<'a> {
    pub(crate) fn new(sink: Option<&'a mut dyn Sink>) -> Self {
        Self { sink, bytes: 0 }
    }

    /// The number of bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn count(&mut self, len: u64) -> Result<()> {
        let sum = self.bytes.checked_add(len).filter(|&sum| i64::try_from(sum).is_ok());
        self.bytes = sum.ok_or_else(|| {
            let text = "the files together are larger than an archive can be (2^63 - 1 bytes)";
            Error::new(Kind::Source, text)
        })?;
        Ok(())
    }

    /// Appends bytes of a header.
    pub(crate) fn header(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(Purpose::Archive, Run::Bytes(bytes))
    }

    /// Appends zeros up to a multiple of `block_bytes`.
    pub(crate) fn pad(&mut self, block_bytes: u64) -> Result<()> {
        match self.bytes % block_bytes {
            0 => Ok(()),
            over => self.write(Purpose::Archive, Run::Zeros(block_bytes - over)),
        }
    }
}

impl Sink for CountingSink<'_> {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        if purpose != Purpose::Digest {
            self.count(run.len())?;
        }
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(purpose, run))
    }

    fn share(&mut self, file: &File, path: &Path) -> Result<Option<File>> {
        self.sink.as_mut().map_or(Ok(None), |sink| sink.share(file, path))
    }
}
