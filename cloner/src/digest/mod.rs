//! The digest of a volume's content (docs/protocol.md section 5).
//!
//! The content is divided into segments of 64 MiB, and each segment into groups of 64 KiB. The digest of a group is the
//! BLAKE3 hash of its bytes. The digest of a segment is the hash of its groups' digests. The digest of the content is
//! the hash of its segments' digests and its length. A run of zeros therefore costs nothing, however long it is: the
//! digests of a group and of a segment of zeros are constants. An interrupted clone resumes after whole segments.
//!
//! The content of a device or file is its bytes. `tar::content_record` defines the content of a directory.

pub mod segments;

use std::fmt;
use std::str::FromStr;

/// Bytes of a group.
pub const GROUP_BYTES: usize = 64 << 10;
/// Bytes of a segment: the unit of verification and of resuming.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The maximum number of segment digests that are kept for resuming: 4 TiB of content in 2 MiB of memory. Content after
/// those segments is sent again.
pub const HELD_LIMIT: usize = 1 << 16;
/// The prefix of a content digest. Another way to compute the digest would get another number.
const SCHEME: &str = "decant1";

/// A digest of 32 bytes. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// The digest of the whole content, and the length of the content. Shown as `decant1:<length>:<digest>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest {
    /// Length of the content.
    pub content_bytes: u64,
    /// Digest of its segments' digests and its length.
    pub digest: Digest,
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}:{}", self.content_bytes, self.digest)
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not a digest: it must look like {SCHEME}:<bytes>:<64 hexadecimal digits>")
        };
        let mut parts = text.trim().splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(SCHEME), Some(length), Some(digest)) => Ok(Self {
                content_bytes: length.parse().map_err(|_| wrong())?,
                digest: digest.parse().map_err(|_| wrong())?,
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let whole = ContentDigest { content_bytes: 77, digest: Digest([0xa5; 32]) };
        assert_eq!(whole.to_string().parse(), Ok(whole));
        for wrong in ["", "decant1:77", "decant2:77:00", "decant1:x:00", "decant1:7:0g"] {
            assert!(wrong.parse::<ContentDigest>().is_err(), "{wrong}");
        }
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
