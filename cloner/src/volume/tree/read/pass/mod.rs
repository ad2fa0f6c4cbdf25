//! One pass over a tree, which writes the part of each entry to the archive. The scan makes the same pass, but only
//! counts the bytes.

mod file;

use std::fs::File;
use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fs::{FileType, readlinkat};
use rustix::io::Errno;

use crate::attributes::meta::Meta;
use crate::attributes::name::shown;
use crate::attributes::{Attribute, Kinds};
use crate::error::{Error, Kind, Result};
use crate::pipeline::join::first_cause;
use crate::stream::{Purpose, Run, Sink};
use crate::tar::content_record::Record;
use crate::tar::counting_sink::CountingSink;
use crate::tar::entry::{EntryKind, PATH_LIMIT_BYTES};
use crate::tar::field::BLOCK_BYTES;
use crate::tar::header_writer::{MemberHeader, flag, put_extended, put_member};
use crate::volume::tree::read::census::{Census, Difference, Outline};
use crate::volume::tree::read::extended::Extended;
use crate::volume::tree::read::links::{Links, Name};
use crate::volume::tree::read::lstat::{Found, OpenedEntry};
use crate::volume::tree::read::plan::Options;
use crate::volume::tree::read::walk::{NAMES_BUDGET_BYTES, WalkBudget, WalkDirectory, walk};
use crate::volume::tree::read::xattr_thread::{Measured, XattrThread};
use crate::volume::xattrs::XattrAccess;

/// The length of an archive is a multiple of this: 20 blocks, GNU tar's default.
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES;

/// The length of an archive that has `stream_bytes` before its end mark, see [`Pass::end`].
pub(super) fn ended(stream_bytes: u64) -> u64 {
    (stream_bytes + 2 * BLOCK_BYTES).next_multiple_of(RECORD_BYTES)
}

/// A pass over a tree.
pub(super) struct Pass<'a> {
    options: Options,
    /// Whether contents are read. A scan only counts them.
    reading: bool,
    out: CountingSink<'a>,
    census: Census<'a>,
    links: Links,
    name: Vec<u8>,
    target: Vec<u8>,
    /// The extended header of the current entry.
    extended: Extended,
    measured: Measured,
    /// The thread that measures extended headers during a scan.
    xattr_thread: Option<XattrThread>,
    stop: Stop,
}

impl<'a> Pass<'a> {
    /// A pass that takes the census of the tree and computes the length of its archive.
    pub(super) fn scanning(options: Options) -> Self {
        Self::new(options, None, Census::new(None))
    }

    /// A pass that writes the archive into `sink` and fails if the tree differs from `outline`.
    pub(super) fn writing(options: Options, outline: &'a Outline, sink: &'a mut dyn Sink) -> Self {
        Self::new(options, Some(sink), Census::new(Some(outline)))
    }

    fn new(options: Options, sink: Option<&'a mut dyn Sink>, census: Census<'a>) -> Self {
        Self {
            options,
            reading: sink.is_some(),
            out: CountingSink::new(sink),
            census,
            links: Links::new(),
            name: Vec::new(),
            target: Vec::new(),
            extended: Extended::new(),
            measured: Measured::default(),
            xattr_thread: None,
            stop: Stop::new(),
        }
    }

    /// Writes everything below `root`, without the end mark.
    pub(super) fn tree(&mut self, root: &OwnedFd, root_path: &Path, stop: &Stop) -> Result<()> {
        self.stop = stop.clone();
        // Without /proc, files must be opened to read their attributes. A second thread does not make that faster.
        if !self.reading && self.options.attributes && XattrAccess::can_be_named() {
            self.xattr_thread = Some(XattrThread::start(stop)?);
        }
        let budget = WalkBudget { names_bytes: NAMES_BUDGET_BYTES, opens_ahead: self.reading };
        let walked = walk(root, root_path, budget, stop, &mut |found, opened| self.entry(found, opened));
        match self.xattr_thread.take().map(XattrThread::finish) {
            Some(Ok(measured)) => self.measured = measured,
            Some(Err(error)) => return first_cause(walked, vec![error]),
            None => {}
        }
        walked
    }

    /// Writes the end mark: two zero blocks, then zeros up to a whole record.
    pub(super) fn end(&mut self) -> Result<()> {
        self.out.write(Purpose::Archive, Run::Zeros(2 * BLOCK_BYTES))?;
        self.out.pad(RECORD_BYTES)
    }

    /// Length of all extended headers. In a scan they do not count as part of the stream.
    pub(super) fn extended_bytes(&self) -> u64 {
        self.measured.extended_bytes
    }

    /// The outline of the tree, and the parts of its archive other than header blocks and content.
    pub(super) fn into_results(mut self, root_path: &Path) -> Result<(Outline, Measured)> {
        let outline = self.census.finish().map_err(|difference| changed(root_path, &difference))?;
        Ok((outline, self.measured))
    }

    /// Checks that the whole tree was as planned.
    pub(super) fn compare(&mut self, root_path: &Path) -> Result<()> {
        self.census.finish().map(drop).map_err(|difference| changed(root_path, &difference))
    }

    /// Length of the stream so far.
    pub(super) fn stream_bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn entry(&mut self, found: &Found<'_>, opened: Option<OpenedEntry>) -> Result<Option<WalkDirectory>> {
        let OpenedEntry { meta, fd } = match opened {
            Some(looked) => looked,
            None => found.lstat(self.reading)?,
        };
        if meta.file_type == FileType::Socket {
            if self.reading {
                log::warn!("left out the socket {:?}", found.path());
            }
            return Ok(None);
        }
        if found.member.len() > PATH_LIMIT_BYTES {
            let name = shown(found.member);
            let bytes = found.member.len();
            let text = format!(
                "cannot send {name}: its path is too long: it has {bytes} bytes, more than {PATH_LIMIT_BYTES}"
            );
            return Err(Error::new(Kind::Source, text));
        }
        self.census.add(found.member, &meta).map_err(|difference| changed(found.root(), &difference))?;
        self.name.clear();
        self.name.extend_from_slice(found.member);
        match meta.file_type {
            FileType::Directory => {
                self.note(EntryKind::Directory, &[], 0)?;
                self.extend(found, &meta, fd.as_ref().map(AsFd::as_fd), Kinds::default())?;
                self.name.push(b'/');
                self.member(&meta, flag::DIRECTORY)?;
                return Ok(fd.map(|fd| WalkDirectory { fd, meta }));
            }
            FileType::RegularFile => self.file(found, &meta, fd.map(File::from).as_ref())?,
            FileType::Symlink => self.symlink(found, &meta)?,
            // As in GNU tar, a further name of a device or pipe is stored as another device or pipe
            // (docs/operations.md).
            FileType::CharacterDevice => {
                self.note(EntryKind::CharDevice(meta.node.0, meta.node.1), &[], 0)?;
                self.extend(found, &meta, None, Kinds::default())?;
                self.member(&meta, flag::CHARACTER_DEVICE)?;
            }
            FileType::BlockDevice => {
                self.note(EntryKind::BlockDevice(meta.node.0, meta.node.1), &[], 0)?;
                self.extend(found, &meta, None, Kinds::default())?;
                self.member(&meta, flag::BLOCK_DEVICE)?;
            }
            FileType::Fifo => {
                self.note(EntryKind::Fifo, &[], 0)?;
                self.extend(found, &meta, None, Kinds::default())?;
                self.member(&meta, flag::FIFO)?;
            }
            _ => return Err(Error::source("store", found.path(), Errno::NOTSUP.into())),
        }
        Ok(None)
    }

    fn symlink(&mut self, found: &Found<'_>, meta: &Meta) -> Result<()> {
        let name = self.meet(meta)?;
        if name == Name::Further {
            return Ok(());
        }
        let target = readlinkat(found.dir, found.name, take(&mut self.target));
        self.target = target
            .map_err(|errno| match errno {
                Errno::INVAL => found.changed("was replaced while its directory was read"),
                other => found.failed("read the link", other),
            })?
            .into_bytes();
        let target = take(&mut self.target);
        self.note(EntryKind::Symlink, &target, 0)?;
        self.target = target;
        self.extend(found, meta, None, lost_link(name))?;
        self.member(meta, flag::SYMLINK)?;
        self.links.add(meta, &self.name);
        Ok(())
    }

    /// Determines the role of the current name. A further name of a stored file is stored as a hard link.
    fn meet(&mut self, meta: &Meta) -> Result<Name> {
        let name = self.links.meet(meta, &mut self.target);
        if name == Name::Further {
            let target = take(&mut self.target);
            self.note(EntryKind::HardLink, &target, 0)?;
            self.target = target;
            self.member(meta, flag::HARD_LINK)?;
        }
        Ok(name)
    }

    /// Writes the extended header of the entry, if it needs one. Further names of a file do not.
    fn extend(
        &mut self,
        found: &Found<'_>,
        meta: &Meta,
        fd: Option<BorrowedFd<'_>>,
        unsent: Kinds,
    ) -> Result<()> {
        if !self.options.attributes {
            return Ok(());
        }
        if let Some(thread) = &mut self.xattr_thread {
            return thread.entry(found, meta, unsent);
        }
        let kinds = self.extended.collect(found, meta, fd, unsent)?;
        let records = self.extended.records();
        if !self.measured.add(records) {
            return Ok(());
        }
        if self.reading {
            return put_extended(&mut self.out, records);
        }
        self.measured.only_in_attributes.add(kinds, || found.member.to_vec());
        Ok(())
    }

    /// Writes the record of the entry, for the digest of the content.
    fn note(&mut self, kind: EntryKind, link: &[u8], size_bytes: u64) -> Result<()> {
        if !self.reading {
            return Ok(());
        }
        let record = Record { kind, name: &self.name, link, size_bytes }.bytes();
        self.out.write(Purpose::Digest, Run::Bytes(&record))
    }

    /// Writes a member without content.
    fn member(&mut self, meta: &Meta, flag: u8) -> Result<()> {
        let linked = matches!(flag, flag::SYMLINK | flag::HARD_LINK);
        let target = if linked { self.target.as_slice() } else { &[] };
        let is_exact = self.options.attributes;
        put_member(
            &mut self.out,
            &MemberHeader { name: &self.name, target, meta, flag, stored_bytes: 0, is_exact },
        )
    }
}

/// The loss of a file that is stored as a separate file although its name has this role.
fn lost_link(name: Name) -> Kinds {
    let mut lost = Kinds::default();
    if name != Name::First {
        lost.insert(Attribute::Link);
    }
    lost
}

fn changed(root_path: &Path, difference: &Difference) -> Error {
    let path = root_path.display();
    let what = &difference.0;
    Error::new(Kind::SourceChanged, format!("{path} changed while it was read: {what}"))
}
