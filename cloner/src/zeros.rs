//! Runs of zeros: recognizes them, and writes them where there is no cheaper way.

use decant_shared::process::stop::Stop;

use crate::error::{Error, Result};

/// Zeros for comparison and for writing. 1 MiB is also the size of one write.
pub static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Whether all of `bytes` (at most 1 MiB) is zero. Data that is not zero usually differs in its first eight bytes.
pub fn is_zero(bytes: &[u8]) -> bool {
    match bytes.first_chunk::<8>() {
        Some(first) if *first != [0; 8] => false,
        _ => bytes == &ZEROS[..bytes.len()],
    }
}

/// Calls `write` with offsets and zeros until `len` bytes, starting at `offset`, are written or `stop` is set.
pub(crate) fn write_zeros<E: From<Error>>(
    mut offset: u64,
    mut len: u64,
    stop: &Stop,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    while len > 0 {
        Error::check(stop)?;
        let part = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        write(offset, &ZEROS[..part])?;
        offset += part as u64;
        len -= part as u64;
    }
    Ok(())
}
