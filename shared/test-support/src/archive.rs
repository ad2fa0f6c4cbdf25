//! Tar archives made block by block, including ones that no tar program would write.

use tar::{EntryType, Header};

/// An archive under construction.
#[derive(Debug, Clone, Default)]
pub struct HandMade(
    /// Its bytes so far.
    pub Vec<u8>,
);

impl HandMade {
    /// A GNU header of type `kind`. `name` is stored as it is, without normalization.
    pub fn header(kind: u8, name: &str, size_bytes: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(size_bytes);
        header
    }

    /// Sets the checksum of `header` and adds it, followed by `content`.
    pub fn block(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.raw(content)
    }

    /// Adds bytes, padded to a multiple of 512.
    pub fn raw(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a file with this content.
    pub fn file(self, name: &str, content: &str) -> Self {
        self.block(Self::header(b'0', name, content.len() as u64), content.as_bytes())
    }

    /// Adds a directory.
    pub fn directory(self, name: &str) -> Self {
        self.block(Self::header(b'5', name, 0), b"")
    }

    /// Adds a symbolic link to `link`.
    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.link(b'2', name, link)
    }

    /// Adds a hard link to `link`.
    pub fn hard_link(self, name: &str, link: &str) -> Self {
        self.link(b'1', name, link)
    }

    fn link(self, kind: u8, name: &str, link: &str) -> Self {
        let mut header = Self::header(kind, name, 0);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        self.block(header, b"")
    }

    /// Adds a PAX header of type `kind`: `x` or `g`.
    pub fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.block(Self::header(kind, "PaxHeaders/x", text.len() as u64), text.as_bytes())
    }

    /// Adds a sparse file in the old GNU format. `segments` are offsets and lengths of the data; `real_bytes` is the file's size
    /// including holes.
    pub fn sparse(self, name: &str, real_bytes: u64, segments: &[(u64, u64)], content: &[u8]) -> Self {
        let mut header = Self::header(b'S', name, content.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(real_bytes);
        for (slot, (offset, len)) in gnu.sparse.iter_mut().zip(segments) {
            slot.set_offset(*offset);
            slot.set_length(*len);
        }
        self.block(header, content)
    }

    /// Adds the two zero blocks at the end. Returns the archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A PAX record. Its length counts the digits of the length itself.
fn record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let len = (1..9).map(|digits| body + digits).find(|len| len.to_string().len() + body == *len);
    format!("{} {key}={value}\n", len.unwrap())
}
