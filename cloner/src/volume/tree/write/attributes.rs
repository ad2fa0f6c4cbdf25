//! Sets owner, mode, extended attributes and time of entries.

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

/// The permission bits, setuid, setgid and the sticky bit.
const ALL_BITS: u32 = 0o7777;

/// The attributes that a finished entry gets.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    owner: Owner,
    mode: Option<Modes>,
    modified: Option<Moment>,
    xattrs: Vec<Xattr>,
    /// Attributes that were already lost.
    lost: Kinds,
    /// Whether the entry existed before, and so may have other attributes than these.
    is_reused: bool,
    /// Attributes that the entry got when it was created. They are checked, and only set if they differ.
    at_birth: AtBirth,
}

/// The mode of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    /// The mode at the source.
    wanted: u32,
    /// The mode that the entry may have without its access control list.
    without_acl: u32,
}

/// Which attributes an entry got when it was created.
#[derive(Debug, Clone, Copy, Default)]
struct AtBirth {
    owner: bool,
    mode: bool,
}

/// How the owner is set.
#[derive(Debug, Clone, Copy)]
enum Owner {
    /// It is not changed.
    Stays,
    /// It is set to this user and group.
    Becomes(Option<u32>, Option<u32>),
    /// It should be this user and group, but this process may not set it.
    ShouldBe(Option<u32>, Option<u32>),
}

/// The attributes that the kernel gives to new entries of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth {
    uid: u32,
    gid: u32,
    /// The permission bits that neither the umask nor a default ACL removes.
    allowed: u32,
}

impl Birth {
    /// For a directory that was created with all permission bits. Its mode, owner and group follow the same rules as
    /// those of its future entries. It passes its setgid bit and its default ACL on to them.
    pub(super) fn in_new_directory(directory: &Stat) -> Self {
        Self { uid: directory.st_uid, gid: directory.st_gid, allowed: directory.st_mode & 0o777 }
    }
}

impl Attributes {
    /// The final mode, if a file can be created with it. If the file has extended attributes, they must be set before
    /// the final mode.
    pub(super) fn mode_at(&self, birth: Option<Birth>) -> Option<Mode> {
        let mode = self.mode?.without_acl;
        let birth = birth?;
        let is_had = mode & !birth.allowed == 0 && self.xattrs.is_empty();
        is_had.then(|| Mode::from_raw_mode(mode))
    }

    /// The remaining attributes of a file that was created with [`Attributes::mode_at`]. Saves system calls for each
    /// file.
    pub(super) fn after(mut self, birth: Option<Birth>) -> Self {
        self.at_birth.mode = self.mode_at(birth).is_some();
        if let (Some(Birth { uid, gid, .. }), Owner::Becomes(owner, group)) = (birth, self.owner) {
            self.at_birth.owner = (owner, group) == (Some(uid), Some(gid));
        }
        self
    }

    /// The attributes of `entry` in the archive. The owner is only set if `own` is set: then this process may change
    /// owners.
    pub(crate) fn of(entry: &Entry, own: bool) -> Self {
        let owner = if own { Owner::Becomes } else { Owner::ShouldBe }(entry.uid, entry.gid);
        let xattrs = entry.xattrs.clone();
        let lost = entry.unsent;
        let list = xattrs.iter().find(|xattr| xattr.name == ACCESS_ACL).map(|xattr| xattr.value.as_slice());
        let has_acl = list.is_some() || lost.has(Attribute::Acl);
        let without_acl = if has_acl { acl::without(entry.mode, list) } else { entry.mode };
        let mode = Some(Modes { wanted: entry.mode, without_acl });
        let modified = Some(entry.modified);
        let at_birth = AtBirth::default();
        Self { owner, mode, modified, xattrs, lost, is_reused: false, at_birth }
    }

    /// Like [`Self::of`], for an entry that existed before.
    pub(crate) fn of_reused(entry: &Entry, own: bool) -> Self {
        Self { is_reused: true, ..Self::of(entry, own) }
    }

    /// The attributes in the archive of the target directory itself. Its owner does not change: the root of a volume
    /// belongs to the pod that mounts it.
    pub(super) fn of_root(entry: &Entry) -> Self {
        Self { owner: Owner::Stays, xattrs: Vec::new(), lost: Kinds::default(), ..Self::of(entry, false) }
    }

    /// For a directory that the archive uses but does not contain.
    pub(super) fn of_unlisted_directory(inherited_mode: u32) -> Self {
        /// The mode of mkdir(1) with the usual umask.
        const USUAL: u32 = 0o755;
        let setgid = inherited_mode & Mode::SGID.as_raw_mode();
        Self::unowned(USUAL | setgid, None)
    }

    /// The attributes that a directory has. They are restored after a change in it.
    pub(super) fn as_found(stat: &Stat) -> Self {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let modified = Moment { seconds: stat.st_mtime, nanoseconds };
        Self::unowned(stat.st_mode & 0o7777, Some(modified))
    }

    fn unowned(mode: u32, modified: Option<Moment>) -> Self {
        let mode = Some(Modes { wanted: mode, without_acl: mode });
        let owner = Owner::Stays;
        let xattrs = Vec::new();
        let lost = Kinds::default();
        Self { owner, mode, modified, xattrs, lost, is_reused: false, at_birth: AtBirth::default() }
    }

    /// The mode, if it does not give the permissions `needed` to the owner.
    pub(super) fn unreadable(&self, needed: Mode) -> Option<u32> {
        let mode = self.mode?.wanted;
        (mode & needed.as_raw_mode() != needed.as_raw_mode()).then_some(mode)
    }

    /// Adds the permissions `needed` to those of the owner.
    pub(super) fn let_owner(&mut self, needed: Mode) {
        if let Some(modes) = &mut self.mode {
            modes.wanted |= needed.as_raw_mode();
            modes.without_acl |= needed.as_raw_mode();
        }
        self.at_birth.mode = false;
    }

    /// The memory of the extended attributes, in bytes.
    pub(super) fn xattrs_bytes(&self) -> usize {
        self.xattrs.iter().map(|xattr| size_of::<Xattr>() + xattr.name.len() + xattr.value.len()).sum()
    }

    /// Drops the extended attributes and counts them as lost.
    pub(super) fn drop_xattrs(&mut self) {
        for xattr in std::mem::take(&mut self.xattrs) {
            self.lost.insert(Attribute::of_xattr(&xattr.name));
        }
    }

    /// Sets the attributes of an open file or directory. Returns those that could not be kept.
    pub(crate) fn apply_to(&self, fd: impl AsFd) -> Result<Kinds> {
        self.apply(&Subject::Open(fd.as_fd()))
    }

    /// Sets the attributes of a pipe, device or symlink `name` in `parent`. A symlink has no mode.
    pub(super) fn apply_to_name(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        is_symlink: bool,
    ) -> Result<Kinds> {
        self.apply(&Subject::Name { parent, name, is_symlink })
    }

    /// Sets the attributes in the only order that keeps all of them. A change of the owner removes setuid, setgid and
    /// capabilities. `user.*` attributes need write permission, which the final mode may not give. A change of the mode
    /// changes an access control list. Every change sets the time. The result is checked at the end: a filesystem may
    /// set another value without an error.
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
        self.check_result(subject, kept_bits, has_acl, &mut lost)?;
        Ok(lost)
    }

    /// The bits of the mode that the entry may have. If it does not get its owner, setuid or setgid would grant the
    /// rights of another owner. The setgid bit of a directory only passes on a group, and grants nothing.
    fn kept_bits(&self, subject: &Subject<'_>) -> Result<u32> {
        let setuid = Mode::SUID.as_raw_mode();
        let setgid = Mode::SGID.as_raw_mode();
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

    /// Counts attributes that differ from the wanted ones as lost. A wrong mode is set a second time, because some
    /// filesystems choose the mode of new entries themselves.
    fn check_result(
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

    /// Sets extended attributes. Returns whether they contain an access control list that is now set.
    fn set_xattrs<'a>(
        &self,
        subject: &Subject<'_>,
        xattrs: impl Iterator<Item = &'a Xattr>,
        lost: &mut Kinds,
    ) -> Result<bool> {
        let mut place = None;
        let mut has_acl = false;
        for Xattr { name, value } in xattrs {
            let kind = Attribute::of_xattr(name);
            if !may_be_set(name) {
                lost.insert(kind);
                continue;
            }
            let place = place.get_or_insert_with(|| subject.place());
            // A filesystem may ignore the attribute without an error.
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

    /// Removes attributes that a previous attempt set and that are not in the archive.
    fn remove_others(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let mut room = room();
        let list = match XattrAccess::Open(fd).list(&mut room) {
            Err(errno) if Call::ListXattrs.is_dispensable(errno) => return Ok(()),
            list => list?,
        };
        let is_other = |name: &&[u8]| !self.xattrs.iter().any(|xattr| xattr.name == *name);
        for name in names(list).filter(|name| may_be_set(name)).filter(is_other) {
            match remove(fd, name) {
                // A previous attempt could not have set this attribute.
                Err(Errno::PERM | Errno::ACCESS) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// Whether this process may change the owner of files, and may still finish, open and remove such files afterwards.
/// Otherwise an interrupted attempt could neither be resumed nor cleaned up.
pub(crate) fn may_give_away() -> bool {
    let needed = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    // A sandbox may not support this call.
    capabilities(None).map_or_else(|_| geteuid().is_root(), |sets| sets.effective.contains(needed))
}

/// Counts an attribute as lost if `call` failed with an error that has this meaning. Returns other errors.
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
