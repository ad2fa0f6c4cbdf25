//! The extended header of an entry, with the attributes that have no field in a GNU header block (docs/protocol.md
//! section 6.4).

use std::io::Write;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::attributes::meta::Meta;
use crate::attributes::{Attribute, Kinds, is_of_the_place};
use crate::error::Result;
use crate::tar::pax::{UNSENT_KEY, XATTR_KEY};
use crate::tar::reader::MAX_PAX_BYTES;
use crate::volume::optional_calls::{Call, Verdict};
use crate::volume::tree::read::lstat::Found;
use crate::volume::xattrs::{XattrAccess, XattrBuffer, names, room};

/// Collects the records of one entry at a time, in bounded memory.
pub(super) struct Extended {
    records: Vec<u8>,
    key: Vec<u8>,
    names: XattrBuffer,
    value: XattrBuffer,
    can_be_named: bool,
    unsent: Kinds,
}

impl Extended {
    pub(super) fn new() -> Self {
        let can_be_named = XattrAccess::can_be_named();
        let records = Vec::new();
        let key = Vec::new();
        let unsent = Kinds::default();
        Self { records, key, names: room(), value: room(), can_be_named, unsent }
    }

    /// The records; empty if the entry needs no extended header.
    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Collects the records. Returns the kinds of attributes that are not in the header block of the entry. A separate
    /// record lists the kinds that may not be read, that are too large, or that are `unsent` in any case.
    pub(super) fn collect(
        &mut self,
        found: &Found<'_>,
        meta: &Meta,
        fd: Option<BorrowedFd<'_>>,
        unsent: Kinds,
    ) -> Result<Kinds> {
        self.records.clear();
        self.unsent = unsent;
        let mut kinds = self.xattrs_of(found, meta, fd)?;
        if !self.unsent.is_empty() {
            kinds.extend(self.unsent);
            let words: Vec<_> = Attribute::ALL
                .iter()
                .filter(|&&kind| self.unsent.has(kind))
                .map(|kind| kind.word())
                .collect();
            push(&mut self.records, UNSENT_KEY, words.join(",").as_bytes());
        }
        // Decant reads the nanoseconds from the header block. If there is an extended header anyway, it contains them
        // for other readers.
        if meta.mtime_nanoseconds != 0 && !self.records.is_empty() {
            let time = time(meta.mtime_seconds, meta.mtime_nanoseconds);
            push(&mut self.records, b"mtime", time.as_bytes());
        }
        Ok(kinds)
    }

    fn xattrs_of(&mut self, found: &Found<'_>, meta: &Meta, fd: Option<BorrowedFd<'_>>) -> Result<Kinds> {
        if let Some(fd) = fd {
            return self.xattrs(found, &XattrAccess::Open(fd));
        }
        // Access through `/proc` takes nearly twice as long as opening and closing the file.
        let opened = (meta.file_type == FileType::RegularFile).then(|| found.open_file()).flatten();
        match opened {
            Some(file) => self.xattrs(found, &XattrAccess::Open(file.as_fd())),
            None if self.can_be_named => {
                self.xattrs(found, &XattrAccess::named(found.dir, found.name.to_bytes()))
            }
            None if meta.file_type == FileType::RegularFile => {
                let file = found.open_same(meta)?;
                self.xattrs(found, &XattrAccess::Open(file.as_fd()))
            }
            None => Ok(Kinds::default()),
        }
    }

    fn xattrs(&mut self, found: &Found<'_>, place: &XattrAccess<'_>) -> Result<Kinds> {
        let mut kinds = Kinds::default();
        let unsent = &mut self.unsent;
        let list = match place.list(&mut self.names) {
            Ok(list) => list,
            // The list has more than the 64 KiB that the kernel returns.
            Err(Errno::RANGE) => {
                unsent.insert(Attribute::Xattr);
                &[]
            }
            Err(errno) => match Call::ListXattrs.verdict(errno) {
                Verdict::Continue => &[],
                Verdict::NotKept(kind) => {
                    unsent.insert(kind);
                    &[]
                }
                Verdict::Fail => return Err(found.failed("list the extended attributes of", errno)),
            },
        };
        for name in names(list).filter(|name| !is_of_the_place(name)) {
            let kind = Attribute::of_xattr(name);
            match place.get(name, &mut self.value) {
                Ok(value) if has_room(&self.records, name, value) => {
                    kinds.insert(kind);
                    set_key(&mut self.key, name);
                    push(&mut self.records, &self.key, value);
                }
                Ok(_) | Err(Errno::RANGE) => unsent.insert(kind),
                Err(errno) => match Call::GetXattr.verdict(errno) {
                    // The attribute was removed after it was listed. If that changes the plan, a later check detects
                    // it.
                    Verdict::Continue => {}
                    Verdict::NotKept(_) => unsent.insert(kind),
                    Verdict::Fail => return Err(found.failed("read an extended attribute of", errno)),
                },
            }
        }
        Ok(kinds)
    }
}

/// Whether another attribute fits into a header that Decant's reader accepts, with space for the record of what was
/// left out.
fn has_room(records: &[u8], name: &[u8], value: &[u8]) -> bool {
    /// The length, key and separators of a record, or the whole record of what was left out.
    const RECORD_BYTES: usize = 128;
    let bytes = records.len() + 3 * name.len() + value.len() + 2 * RECORD_BYTES;
    bytes as u64 <= MAX_PAX_BYTES
}

/// Sets `key` to the key of the attribute `name`. Characters that would end the key are escaped as in GNU tar.
fn set_key(key: &mut Vec<u8>, name: &[u8]) {
    key.clear();
    key.extend_from_slice(XATTR_KEY);
    for &byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            byte => key.push(byte),
        }
    }
}

/// Appends `<length> <key>=<value>
/// `. The length includes its own digits.
fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while body + digits(len) != len {
        len = body + digits(len);
    }
    // Writing to a vector cannot fail.
    let _ = write!(records, "{len} ");
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// A time in the format of POSIX pax. A time before 1970 is a negative number, including its fraction.
fn time(seconds: i64, nanoseconds: u32) -> String {
    if seconds >= 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Moment;
    use crate::tar::pax::PaxFields;
    use proptest::prelude::*;

    #[test]
    fn a_length_includes_its_own_digits() {
        for len in (0..1200).chain([9_990, 99_990, 65_536]) {
            let mut records = Vec::new();
            push(&mut records, b"k", &vec![b'v'; len]);
            let told =
                String::from_utf8(records.split(|&byte| byte == b' ').next().unwrap().to_vec()).unwrap();
            assert_eq!(told.parse::<usize>().unwrap(), records.len(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            seconds in -4_000_000_000_i64..4_000_000_000,
            nanoseconds in 1..1_000_000_000_u32,
            name in proptest::collection::vec(1..=255_u8, 1..250),
            value in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut records = Vec::new();
            let mut key = Vec::new();
            push(&mut records, b"mtime", time(seconds, nanoseconds).as_bytes());
            set_key(&mut key, &name);
            push(&mut records, &key, &value);
            let mut fields = PaxFields::default();
            fields.read(&records).unwrap();
            prop_assert_eq!(fields.modified, Some(Moment { seconds, nanoseconds }));
            prop_assert_eq!(&fields.attributes.xattrs[0].name, &name);
            prop_assert_eq!(&fields.attributes.xattrs[0].value, &value);
        }
    }
}
