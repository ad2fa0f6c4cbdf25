//! Owner, mode, extended attributes and time of what was unpacked.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Gid, Mode, Stat, Uid};
use rustix::io::{Errno, Result};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::attributes::{ACCESS_ACL, Attribute, Kinds, Moment, Xattr, acl, may_be_set};
use crate::tar::entry::Entry;
use crate::volume::optional_calls::{Call, Verdict, setting};
use crate::volume::tree::write::subject::Subject;
use crate::volume::xattrs::{XattrAccess, names, remove, room};

/// The permission bits with setuid, setgid and the sticky bit.
const ALL_BITS: u32 = 0o7777;

/// What a finished file or directory gets.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    owner: Owner,
    mode: Option<Modes>,
    modified: Option<Moment>,
    xattrs: Vec<Xattr>,
    /// Lost before it came here.
    lost: Kinds,
    /// Something else may have left attributes that are not among these.
    is_reused: bool,
    /// What it was made with: it is looked at, and set only where it is not so.
    at_birth: AtBirth,
}

/// The mode of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    /// That of the source.
    wanted: u32,
    /// What it may be as long as it has no access control list.
    without_acl: u32,
}

/// What an entry was asked to be made with.
#[derive(Debug, Clone, Copy, Default)]
struct AtBirth {
    owner: bool,
    mode: bool,
}

/// What becomes of the owner.
#[derive(Debug, Clone, Copy)]
enum Owner {
    /// Nothing.
    Stays,
    /// It becomes this one.
    Becomes(Option<u32>, Option<u32>),
    /// It should be this one, which this process may not do.
    ShouldBe(Option<u32>, Option<u32>),
}

/// What the kernel gives to everything that is made in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth {
    uid: u32,
    gid: u32,
    /// The permission bits that neither the umask nor a default ACL takes away.
    allowed: u32,
}

impl Birth {
    /// In a directory that was just made with all permission bits. It got them, its owner and its group by the same rules
    /// as what will be made in it, and hands on its setgid bit and its default ACL.
    pub(super) fn in_new_directory(directory: &Stat) -> Self {
        Self { uid: directory.st_uid, gid: directory.st_gid, allowed: directory.st_mode & 0o777 }
    }
}

impl Attributes {
    /// The mode to make a file with, so that it needs no other one later, if that can be had. Attributes of users are
    /// set before the final mode.
    pub(super) fn mode_at(&self, birth: Option<Birth>) -> Option<Mode> {
        let (mode, birth) = (self.mode?.without_acl, birth?);
        let is_had = mode & !birth.allowed == 0 && self.xattrs.is_empty();
        is_had.then(|| Mode::from_raw_mode(mode))
    }

    /// For a file that was just made with [`Attributes::mode_at`]: each system call that is saved is saved once per file.
    pub(super) fn after(mut self, birth: Option<Birth>) -> Self {
        self.at_birth.mode = self.mode_at(birth).is_some();
        if let (Some(Birth { uid, gid, .. }), Owner::Becomes(owner, group)) = (birth, self.owner) {
            self.at_birth.owner = (owner, group) == (Some(uid), Some(gid));
        }
        self
    }

    /// What the archive says; the owner is only set when this process may give files away.
    pub(crate) fn of(entry: &Entry, own: bool) -> Self {
        let owner = if own { Owner::Becomes } else { Owner::ShouldBe }(entry.uid, entry.gid);
        let (xattrs, lost) = (entry.xattrs.clone(), entry.unsent);
        let list = xattrs.iter().find(|xattr| xattr.name == ACCESS_ACL).map(|xattr| xattr.value.as_slice());
        let has_acl = list.is_some() || lost.has(Attribute::Acl);
        let without_acl = if has_acl { acl::without(entry.mode, list) } else { entry.mode };
        let mode = Some(Modes { wanted: entry.mode, without_acl });
        let (modified, at_birth) = (Some(entry.modified), AtBirth::default());
        Self { owner, mode, modified, xattrs, lost, is_reused: false, at_birth }
    }

    /// The same for what was there before.
    pub(crate) fn of_reused(entry: &Entry, own: bool) -> Self {
        Self { is_reused: true, ..Self::of(entry, own) }
    }

    /// What the archive says about the directory that is unpacked into. Its owner stays: a volume's root belongs to whoever
    /// mounts it.
    pub(super) fn of_root(entry: &Entry) -> Self {
        Self { owner: Owner::Stays, xattrs: Vec::new(), lost: Kinds::default(), ..Self::of(entry, false) }
    }

    /// For a directory that the archive uses but does not hold.
    pub(super) fn of_unnamed_directory(inherited_mode: u32) -> Self {
        /// What mkdir(1) makes under the usual umask.
        const USUAL: u32 = 0o755;
        let setgid = inherited_mode & Mode::SGID.as_raw_mode();
        Self::unowned(USUAL | setgid, None)
    }

    /// What a directory already has, to give it back after one more change in it.
    pub(super) fn as_found(stat: &Stat) -> Self {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let modified = Moment { seconds: stat.st_mtime, nanoseconds };
        Self::unowned(stat.st_mode & 0o7777, Some(modified))
    }

    fn unowned(mode: u32, modified: Option<Moment>) -> Self {
        let mode = Some(Modes { wanted: mode, without_acl: mode });
        let (owner, xattrs, lost) = (Owner::Stays, Vec::new(), Kinds::default());
        Self { owner, mode, modified, xattrs, lost, is_reused: false, at_birth: AtBirth::default() }
    }

    /// The mode that it is to have, if its owner does not get `needed` by it.
    pub(super) fn unreadable(&self, needed: Mode) -> Option<u32> {
        let mode = self.mode?.wanted;
        (mode & needed.as_raw_mode() != needed.as_raw_mode()).then_some(mode)
    }

    /// Lets the owner have `needed` besides.
    pub(super) fn let_owner(&mut self, needed: Mode) {
        if let Some(modes) = &mut self.mode {
            modes.wanted |= needed.as_raw_mode();
            modes.without_acl |= needed.as_raw_mode();
        }
        self.at_birth.mode = false;
    }

    /// Memory that its extended attributes take, in bytes.
    pub(super) fn xattrs_bytes(&self) -> usize {
        self.xattrs.iter().map(|xattr| size_of::<Xattr>() + xattr.name.len() + xattr.value.len()).sum()
    }

    /// Counts its extended attributes as lost.
    pub(super) fn drop_xattrs(&mut self) {
        for xattr in std::mem::take(&mut self.xattrs) {
            self.lost.insert(Attribute::of_xattr(&xattr.name));
        }
    }

    /// Sets them on an open file or directory. Returns what is not permitted, or not possible here.
    pub(crate) fn apply_to(&self, fd: impl AsFd) -> Result<Kinds> {
        self.apply(&Subject::Open(fd.as_fd()))
    }

    /// The same for the name of a pipe, device or symlink in `parent`. A symlink has no mode of its own.
    pub(super) fn apply_to_name(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        is_symlink: bool,
    ) -> Result<Kinds> {
        self.apply(&Subject::Name { parent, name, is_symlink })
    }

    /// In the only order that keeps all. A change of owner takes setuid, setgid and capabilities away. Attributes of
    /// users need write permission, which the final mode may not give. A change of mode changes an access control list.
    /// Everything changes the time. What came of it is looked at in the end: a filesystem may take something else than it was
    /// given, and say nothing.
    fn apply(&self, subject: &Subject<'_>) -> Result<Kinds> {
        let mut lost = self.lost;
        if let (Owner::Becomes(uid, gid), false) = (self.owner, self.at_birth.owner) {
            let changed = subject.chown(uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            count(&mut lost, Call::Chown, changed)?;
        }
        if let (true, Subject::Open(fd)) = (self.is_reused, subject) {
            self.remove_others(*fd)?;
        }
        let is_late = |xattr: &&Xattr| Attribute::of_xattr(&xattr.name) != Attribute::Xattr;
        self.set_xattrs(subject, self.xattrs.iter().filter(|xattr| !is_late(xattr)), &mut lost)?;
        let kept_bits = self.kept_bits(subject)?;
        if let Some(mode) = self.mode.filter(|_| !self.at_birth.mode && subject.has_mode()) {
            count(&mut lost, Call::Chmod, subject.chmod(mode.without_acl & kept_bits))?;
        }
        let has_acl = self.set_xattrs(subject, self.xattrs.iter().filter(is_late), &mut lost)?;
        if let Some(modified) = self.modified {
            count(&mut lost, Call::SetTimes, subject.set_time(modified))?;
        }
        self.look_back(subject, kept_bits, has_acl, &mut lost)?;
        Ok(lost)
    }

    /// The bits of its mode that it may have: setuid and setgid would lend the rights of another owner, where it does not get
    /// its own. What is made in a setgid directory gets its group; that lends nothing.
    fn kept_bits(&self, subject: &Subject<'_>) -> Result<u32> {
        let (setuid, setgid) = (Mode::SUID.as_raw_mode(), Mode::SGID.as_raw_mode());
        let Some((uid, gid)) = self.wanted_owner() else { return Ok(!0) };
        if !subject.has_mode() || self.mode.is_none_or(|mode| mode.wanted & (setuid | setgid) == 0) {
            return Ok(!0);
        }
        let found = subject.stat()?;
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let mut kept = !0;
        if uid != Some(found.st_uid) {
            kept &= !setuid;
        }
        if gid != Some(found.st_gid) && !is_directory {
            kept &= !setgid;
        }
        Ok(kept)
    }

    fn wanted_owner(&self) -> Option<(Option<u32>, Option<u32>)> {
        match self.owner {
            Owner::Stays => None,
            Owner::Becomes(uid, gid) | Owner::ShouldBe(uid, gid) => Some((uid, gid)),
        }
    }

    /// Counts what is not as it should be. A mode that is not what was asked for gets a second try, because some filesystems
    /// choose that of what is made in them.
    fn look_back(
        &self,
        subject: &Subject<'_>,
        kept_bits: u32,
        has_acl: bool,
        lost: &mut Kinds,
    ) -> Result<()> {
        let mut found = subject.stat()?;
        let mode_of = |found: &Stat| found.st_mode & ALL_BITS;
        if let Some(modes) = self.mode.filter(|_| subject.has_mode()) {
            let mode = kept_bits & if has_acl { modes.wanted } else { modes.without_acl };
            if mode_of(&found) != mode && !lost.has(Attribute::Mode) {
                count(lost, Call::Chmod, subject.chmod(mode))?;
                found = subject.stat()?;
            }
            if mode_of(&found) != modes.wanted {
                lost.insert(Attribute::Mode);
            }
        }
        if self.wanted_owner().is_some_and(|owner| owner != (Some(found.st_uid), Some(found.st_gid))) {
            lost.insert(Attribute::Owner);
        }
        let time = (found.st_mtime, u32::try_from(found.st_mtime_nsec).ok());
        if self.modified.is_some_and(|wanted| (wanted.seconds, Some(wanted.nanoseconds)) != time) {
            lost.insert(Attribute::Time);
        }
        Ok(())
    }

    /// Sets them. Returns whether an access control list was among them and is there now.
    fn set_xattrs<'a>(
        &self,
        subject: &Subject<'_>,
        xattrs: impl Iterator<Item = &'a Xattr>,
        lost: &mut Kinds,
    ) -> Result<bool> {
        let (mut place, mut has_acl) = (None, false);
        for Xattr { name, value } in xattrs {
            let kind = Attribute::of_xattr(name);
            if !may_be_set(name) {
                lost.insert(kind);
                continue;
            }
            let place = place.get_or_insert_with(|| subject.place());
            // Also a filesystem that says nothing may not have taken it.
            let is_set = place.set(name, value).map_err(|errno| subject.too_large(errno)).and_then(|()| {
                let is_had = place.has(name, value)?;
                Ok(is_had || (kind == Attribute::Acl && acl::is_a_mode(value)))
            });
            match is_set {
                Ok(true) => has_acl |= name == ACCESS_ACL,
                Ok(false) => lost.insert(kind),
                Err(errno) if setting(kind).is_dispensable(errno) => lost.insert(kind),
                Err(errno) => return Err(errno),
            }
        }
        Ok(has_acl)
    }

    /// Takes away what an attempt before has set and the archive does not have.
    fn remove_others(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let mut room = room();
        let list = match XattrAccess::Open(fd).list(&mut room) {
            Err(errno) if Call::ListXattrs.is_dispensable(errno) => return Ok(()),
            list => list?,
        };
        let is_other = |name: &&[u8]| !self.xattrs.iter().any(|xattr| xattr.name == *name);
        for name in names(list).filter(|name| may_be_set(name)).filter(is_other) {
            match remove(fd, name) {
                // Then an attempt before could not have set it.
                Err(Errno::PERM | Errno::ACCESS) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// Whether this process may give files away, and still finish, open again and remove what it gave away. Without the latter an
/// attempt that was interrupted could neither go on nor be cleaned up.
pub(crate) fn may_give_away() -> bool {
    let needed = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    // A sandbox may not know the question.
    capabilities(None).map_or_else(|_| geteuid().is_root(), |sets| sets.effective.contains(needed))
}

/// Counts what cannot be kept; any other error is one.
fn count(lost: &mut Kinds, call: Call, result: Result<()>) -> Result<()> {
    match result {
        Err(errno) => match call.verdict(errno) {
            Verdict::Continue => Ok(()),
            Verdict::NotKept(kind) => {
                lost.insert(kind);
                Ok(())
            }
            Verdict::Fail => Err(errno),
        },
        Ok(()) => Ok(()),
    }
}
