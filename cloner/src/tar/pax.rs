//! Parses the records of PAX extended headers (POSIX pax, "pax Extended Header"; GNU tar manual, "Sparse Formats").

use crate::attributes::{Attribute, Kinds, Moment, Xattr};
use crate::error::{Error, Result};
use crate::tar::entry::MAX_NAME_BYTES;
use crate::tar::sparse_map::SparseMap;

/// The prefix of the key for an extended attribute, as star, GNU tar and bsdtar write it. The name of the attribute
/// follows.
pub(crate) const XATTR_KEY: &[u8] = b"SCHILY.xattr.";
/// The maximum memory for the extended attributes of one entry. Linux lists at most 64 KiB of names, and Decant's
/// source sends at most [`MAX_PAX_BYTES`](crate::tar::reader::MAX_PAX_BYTES) of records. Such attributes, with their
/// overhead, need less than this.
const XATTRS_LIMIT_BYTES: usize = 2 << 20;
/// The memory for an extended attribute in addition to its bytes: its list item, and two allocations of at least 16
/// bytes.
const XATTR_OVERHEAD_BYTES: usize = size_of::<Xattr>() + 2 * 16;
/// The key for the kinds of attributes that Decant's source left out, separated by commas.
pub(crate) const UNSENT_KEY: &[u8] = b"DECANT.unsent";

/// The values of the extended headers of a member. For a value that is `None`, the header block decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxFields {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link_path: Option<Vec<u8>>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) modified: Option<Moment>,
    pub(crate) sparse: PaxSparse,
    pub(crate) attributes: PaxAttributes,
}

/// Extended attributes, access control lists and capabilities.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxAttributes {
    pub(crate) xattrs: Vec<Xattr>,
    /// Their memory: their bytes, plus [`XATTR_OVERHEAD_BYTES`] for each.
    cost_bytes: usize,
    unsent: Kinds,
    /// Kinds of attributes in formats that are not parsed. bsdtar and GNU tar write these formats in addition or
    /// instead.
    others: Kinds,
}

/// GNU tar's records about a sparse member, of all three formats.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxSparse {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size_bytes: Option<u64>,
    /// 0.0 and 0.1: the map itself.
    pub(crate) map: Option<SparseMap>,
    /// 1.0: the map precedes the content.
    pub(crate) major: Option<u64>,
    minor: Option<u64>,
    offset: Option<u64>,
}

impl PaxSparse {
    /// Whether the map precedes the content.
    pub(crate) fn is_version_1(&self) -> Result<bool> {
        match (self.major, self.minor) {
            (None | Some(0), _) => Ok(false),
            (Some(1), None | Some(0)) => Ok(true),
            (Some(major), minor) => {
                Err(Error::damaged(format!("the sparse format {major}.{} is unknown", minor.unwrap_or(0))))
            }
        }
    }
}

impl PaxFields {
    /// Adds the records of one extended header. If several records have the same key, the last one counts.
    pub(crate) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = split_record(records)
                .ok_or_else(|| Error::damaged("a record of an extended header is malformed"))?;
            self.take(key, value).ok_or_else(|| {
                Error::damaged(format!(
                    "the value of {} in an extended header is invalid",
                    String::from_utf8_lossy(key)
                ))
            })??;
            records = rest;
        }
        Ok(())
    }

    /// Adds a record. Returns `None` if the value is invalid.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<Result<()>> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link_path = name(value)?,
            b"size" => self.size_bytes = optional(value, size)?,
            b"uid" => self.uid = optional(value, decimal)?,
            b"gid" => self.gid = optional(value, decimal)?,
            b"mtime" => self.modified = optional(value, moment)?,
            _ if key.starts_with(b"GNU.sparse.") => {
                return self.sparse.take(&key[b"GNU.sparse.".len()..], value);
            }
            _ if key.starts_with(XATTR_KEY) => {
                return Some(self.attributes.take(&key[XATTR_KEY.len()..], value));
            }
            UNSENT_KEY => self.attributes.unsent.extend(kinds(value)),
            _ if key.starts_with(b"LIBARCHIVE.xattr.") => self.attributes.others.insert(Attribute::Xattr),
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => self.attributes.others.insert(Attribute::Acl),
            // Access times, user names, comments: a clone does not restore them.
            _ => {}
        }
        Some(Ok(()))
    }
}

impl PaxAttributes {
    /// Adds an attribute. Unlike in other records, an empty value does not remove a previous one: GNU tar writes empty
    /// attributes this way.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() {
            return Err(Error::damaged("an extended attribute has no name"));
        }
        // Both belong to one extended header, whose length is limited.
        self.cost_bytes += XATTR_OVERHEAD_BYTES + name.len() + value.len();
        if self.cost_bytes > XATTRS_LIMIT_BYTES {
            return Err(Error::damaged("the extended attributes are larger than those of any entry"));
        }
        self.xattrs.push(Xattr { name: unescaped(name), value: value.to_vec() });
        Ok(())
    }

    /// Kinds of attributes that were not sent, or only sent in a format that is not parsed.
    pub(crate) fn unsent(&self) -> Kinds {
        let mut unsent = self.unsent;
        for kind in Attribute::ALL.into_iter().filter(|&kind| self.others.has(kind)) {
            if !self.xattrs.iter().any(|xattr| Attribute::of_xattr(&xattr.name) == kind) {
                unsent.insert(kind);
            }
        }
        unsent
    }

    /// Drops the attributes and counts them as lost. This is for a global header: its attributes would be copied for
    /// each member, and no archiver writes such headers.
    pub(crate) fn forget(&mut self) {
        for xattr in std::mem::take(&mut self.xattrs) {
            self.unsent.insert(Attribute::of_xattr(&xattr.name));
        }
        self.cost_bytes = 0;
    }
}

/// The name of an attribute, decoded. GNU tar escapes the characters that would end the key.
fn unescaped(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((&first, rest)) = name.split_first() {
        let (byte, rest) = match name {
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            _ => (first, rest),
        };
        plain.push(byte);
        name = rest;
    }
    plain
}

/// Parses the kinds of attributes that Decant's source left out. An unknown kind counts as an extended attribute.
fn kinds(words: &[u8]) -> Kinds {
    let mut kinds = Kinds::default();
    for word in words.split(|&byte| byte == b',') {
        let known = Attribute::ALL.into_iter().find(|kind| kind.word().as_bytes() == word);
        kinds.insert(known.unwrap_or(Attribute::Xattr));
    }
    kinds
}

impl PaxSparse {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<Result<()>> {
        match key {
            b"name" => self.name = name(value)?,
            b"size" | b"realsize" => self.size_bytes = Some(size(value)?),
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"numblocks" => self.map = Some(SparseMap::default()),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take()?;
                return Some(self.map.get_or_insert_default().push(offset, decimal(value)?));
            }
            b"map" => return self.take_map(value),
            _ => {}
        }
        Some(Ok(()))
    }

    /// 0.1: `offset,length,offset,length`.
    fn take_map(&mut self, value: &[u8]) -> Option<Result<()>> {
        let map = self.map.insert(SparseMap::default());
        let mut numbers = value.split(|&byte| byte == b',').filter(|_| !value.is_empty());
        while let Some(offset) = numbers.next() {
            if let Err(error) = map.push(decimal(offset)?, decimal(numbers.next()?)?) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

/// Splits off the first record, `<length> <key>=<value>
/// `. Returns key, value and rest. The length includes its own digits. Because of the length a value may contain any
/// bytes, even newlines.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&records[..space])?).ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

/// Parses a value. An empty value removes a previous one.
#[expect(clippy::option_option, reason = "outer: is it valid, inner: is it present")]
fn optional<T>(value: &[u8], parse: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

#[expect(clippy::option_option, reason = "outer: is it valid, inner: is it present")]
fn name(value: &[u8]) -> Option<Option<Vec<u8>>> {
    optional(value, |value| {
        let can_be = value.len() as u64 <= MAX_NAME_BYTES && !value.contains(&0);
        can_be.then(|| value.to_vec())
    })
}

fn decimal(value: &[u8]) -> Option<u64> {
    let digits = if value.is_empty() { None } else { Some(value) };
    digits?.iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A size in bytes of at most 63 bits.
fn size(value: &[u8]) -> Option<u64> {
    decimal(value).filter(|&size_bytes| i64::try_from(size_bytes).is_ok())
}

/// `[-]seconds[.fraction]`; digits after the ninth are dropped.
fn moment(value: &[u8]) -> Option<Moment> {
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    let fraction = parts.next().unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    for at in 0..9 {
        nanoseconds = nanoseconds * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(match (is_negative, nanoseconds) {
        (false, _) => Moment { seconds, nanoseconds },
        (true, 0) => Moment { seconds: -seconds, nanoseconds },
        // -1.25 is 0.75 after -2.
        (true, _) => Moment { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let body = key.len() + value.len() + 3;
        let len = (1..7).map(|digits| body + digits).find(|len| len.to_string().len() + body == *len);
        format!("{} {key}={value}\n", len.unwrap())
    }

    fn read(records: &[(&str, &str)]) -> Result<PaxFields> {
        let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
        let mut fields = PaxFields::default();
        fields.read(text.as_bytes()).map(|()| fields)
    }

    #[test]
    fn a_value_with_newlines_does_not_hide_what_follows() {
        let fields = read(&[("SCHILY.xattr.user.x", "a\n9 path=b\n\n"), ("path", "c\nd"), ("size", "7")]);
        let fields = fields.unwrap();
        assert_eq!(fields.path.as_deref(), Some(&b"c\nd"[..]));
        assert_eq!(fields.size_bytes, Some(7));
        let attribute = Xattr { name: b"user.x".to_vec(), value: b"a\n9 path=b\n\n".to_vec() };
        assert_eq!(fields.attributes.xattrs, [attribute]);
    }

    #[test]
    fn an_empty_value_removes_a_record() {
        assert_eq!(read(&[("path", "a"), ("path", "")]).unwrap().path, None);
    }

    #[test]
    fn the_kinds_that_were_left_out_are_known() {
        let unsent = |records: &[(&str, &str)]| {
            let unsent = read(records).unwrap().attributes.unsent();
            Attribute::ALL.into_iter().filter(|&kind| unsent.has(kind)).collect::<Vec<_>>()
        };
        assert_eq!(unsent(&[("DECANT.unsent", "acls,xattrs")]), [Attribute::Xattr, Attribute::Acl]);
        assert_eq!(unsent(&[("DECANT.unsent", "moods")]), [Attribute::Xattr]);
        assert_eq!(unsent(&[("SCHILY.acl.access", "user::rw-")]), [Attribute::Acl]);
        let twice = [("LIBARCHIVE.xattr.user.a", "eA=="), ("SCHILY.xattr.user.a", "x")];
        assert_eq!(unsent(&twice), []);
        assert_eq!(unsent(&twice[..1]), [Attribute::Xattr]);
    }

    #[test]
    fn the_attributes_of_an_entry_are_limited() {
        let mut fields = PaxFields::default();
        let value = "v".repeat(60_000);
        let header = record("SCHILY.xattr.user.a", &value);
        let taken = (0..100).take_while(|_| fields.read(header.as_bytes()).is_ok()).count();
        assert!((30..40).contains(&taken), "{taken}");
    }

    #[test]
    fn empty_attributes_count_by_their_number() {
        let mut fields = PaxFields::default();
        let header = record("SCHILY.xattr.a", "");
        let taken = (0..1_000_000).take_while(|_| fields.read(header.as_bytes()).is_ok()).count();
        assert!(taken * XATTR_OVERHEAD_BYTES <= XATTRS_LIMIT_BYTES, "{taken}");
        let shortest_names = (64 << 10) / "user.a\0".len();
        assert!(taken > shortest_names, "as many as Linux lists for one entry: {taken}");
    }

    #[test]
    fn an_attribute_without_a_name_is_damage() {
        assert!(read(&[("SCHILY.xattr.", "")]).is_err());
        assert!(read(&[("SCHILY.xattr.", "value")]).is_err());
    }

    #[test]
    fn a_name_that_is_too_long_is_damage() {
        let longest = usize::try_from(MAX_NAME_BYTES).unwrap();
        for key in ["path", "linkpath", "GNU.sparse.name"] {
            assert!(read(&[(key, &"n".repeat(longest))]).is_ok(), "{key}");
            assert!(read(&[(key, &"n".repeat(longest + 1))]).is_err(), "{key}");
        }
    }

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_1970() {
        let at = |text| moment(text).map(|moment| (moment.seconds, moment.nanoseconds));
        assert_eq!(at(b"17.5"), Some((17, 500_000_000)));
        assert_eq!(at(b"17.0000000019"), Some((17, 1)));
        assert_eq!(at(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(at(b"-3"), Some((-3, 0)));
        assert_eq!(at(b"1.x"), None);
        assert_eq!(at(b""), None);
    }

    #[test]
    fn broken_records_are_damage() {
        for bad in ["", "x", "5 a=b", "6 a=b", "0 a=b\n", "3 a\n", "99 a=b\n", "6 ab=\n6"] {
            let result = PaxFields::default().read(bad.as_bytes());
            assert_eq!(result.is_ok(), bad.is_empty(), "{bad:?}");
        }
        for (key, value) in [("size", "-1"), ("size", "9223372036854775808"), ("path", "a\0b")] {
            assert!(read(&[(key, value)]).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn all_three_sparse_formats_are_known() {
        let old = read(&[
            ("GNU.sparse.size", "20"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "0"),
            ("GNU.sparse.numbytes", "5"),
            ("GNU.sparse.offset", "9"),
            ("GNU.sparse.numbytes", "1"),
        ]);
        old.unwrap().sparse.map.unwrap().check(20, 6).unwrap();
        let newer = read(&[("GNU.sparse.map", "0,5,9,1")]).unwrap();
        newer.sparse.map.unwrap().check(20, 6).unwrap();
        let newest = read(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]).unwrap();
        assert!(newest.sparse.is_version_1().unwrap());
        assert!(read(&[("GNU.sparse.map", "0,5,9")]).is_err());
        assert!(read(&[("GNU.sparse.numbytes", "9")]).is_err());
    }
}
