//! Owner, mode, extended attributes and time of what was unpacked.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Gid, Mode, Stat, Uid};
use rustix::io::{Errno, Result};

use crate::archive::entry::{Entry, Moment};
use crate::attribute::place::{Place, names, remove, room};
use crate::attribute::{Attribute, Kinds, Xattr, may_be_set};
use crate::unpack::subject::Subject;

/// What a finished file or folder gets.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    owner: Owner,
    mode: u32,
    modified: Option<Moment>,
    xattrs: Vec<Xattr>,
    /// Lost before it came here.
    lost: Kinds,
    /// An attempt before may have left attributes that the archive does not have.
    is_reused: bool,
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

impl Attributes {
    /// What the archive says; the owner is only set when this process may give files away.
    pub(super) fn of(entry: &Entry, own: bool) -> Self {
        let owner = if own { Owner::Becomes } else { Owner::ShouldBe }(entry.uid, entry.gid);
        let (xattrs, lost) = (entry.xattrs.clone(), entry.unsent);
        Self { owner, mode: entry.mode, modified: Some(entry.modified), xattrs, lost, is_reused: false }
    }

    /// The same for what an attempt before has made.
    pub(super) fn of_reused(entry: &Entry, own: bool) -> Self {
        Self { is_reused: true, ..Self::of(entry, own) }
    }

    /// What the archive says about the folder that is unpacked into. Its owner stays: a volume's root belongs to whoever
    /// mounts it.
    pub(super) fn of_root(entry: &Entry) -> Self {
        Self { owner: Owner::Stays, xattrs: Vec::new(), lost: Kinds::default(), ..Self::of(entry, false) }
    }

    /// For a folder that the archive uses but does not hold.
    pub(super) fn of_unnamed_folder(inherited_mode: u32) -> Self {
        /// What mkdir(1) makes under the usual umask.
        const USUAL: u32 = 0o755;
        let setgid = inherited_mode & Mode::SGID.as_raw_mode();
        Self::unowned(USUAL | setgid, None)
    }

    /// What a folder already has, to give it back after one more change in it.
    pub(super) fn as_found(stat: &Stat) -> Self {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let modified = Moment { seconds: stat.st_mtime, nanoseconds };
        Self::unowned(stat.st_mode & 0o7777, Some(modified))
    }

    fn unowned(mode: u32, modified: Option<Moment>) -> Self {
        let (owner, xattrs, lost) = (Owner::Stays, Vec::new(), Kinds::default());
        Self { owner, mode, modified, xattrs, lost, is_reused: false }
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

    /// Sets them on an open file or folder. Returns what is not permitted, or not possible here.
    pub(super) fn apply_to(&self, fd: impl AsFd) -> Result<Kinds> {
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
    /// Everything changes the time.
    fn apply(&self, subject: &Subject<'_>) -> Result<Kinds> {
        let mut lost = self.lost;
        self.own(subject, &mut lost)?;
        if let (true, Subject::Open(fd)) = (self.is_reused, subject) {
            self.remove_others(*fd)?;
        }
        let is_late = |xattr: &&Xattr| Attribute::of_xattr(&xattr.name) != Attribute::Xattr;
        self.set_xattrs(subject, self.xattrs.iter().filter(|xattr| !is_late(xattr)), &mut lost)?;
        count(&mut lost, Attribute::Mode, subject.chmod(self.mode))?;
        self.set_xattrs(subject, self.xattrs.iter().filter(is_late), &mut lost)?;
        let special = (Mode::SUID | Mode::SGID).as_raw_mode();
        if self.mode & special != 0 && subject.has_mode() {
            // The kernel drops setgid in silence where the group is not ours.
            let found = subject.stat()?.st_mode;
            if found & special != self.mode & special {
                lost.insert(Attribute::Mode);
            }
        }
        if let Some(modified) = self.modified {
            count(&mut lost, Attribute::Time, subject.set_time(modified))?;
        }
        Ok(lost)
    }

    fn own(&self, subject: &Subject<'_>, lost: &mut Kinds) -> Result<()> {
        match self.owner {
            Owner::Stays => Ok(()),
            Owner::Becomes(uid, gid) => {
                if uid.is_none() || gid.is_none() {
                    lost.insert(Attribute::Owner);
                }
                let changed = subject.chown(uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                count(lost, Attribute::Owner, changed)
            }
            Owner::ShouldBe(uid, gid) => {
                let found = subject.stat()?;
                if (uid, gid) != (Some(found.st_uid), Some(found.st_gid)) {
                    lost.insert(Attribute::Owner);
                }
                Ok(())
            }
        }
    }

    fn set_xattrs<'a>(
        &self,
        subject: &Subject<'_>,
        xattrs: impl Iterator<Item = &'a Xattr>,
        lost: &mut Kinds,
    ) -> Result<()> {
        let mut place = None;
        for Xattr { name, value } in xattrs {
            let kind = Attribute::of_xattr(name);
            if !may_be_set(name) {
                lost.insert(kind);
                continue;
            }
            match place.get_or_insert_with(|| subject.place()).set(name, value) {
                Err(errno) if is_refused(errno) => lost.insert(kind),
                result => result?,
            }
        }
        Ok(())
    }

    /// Takes away what an attempt before has set and the archive does not have.
    fn remove_others(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let mut room = room();
        let list = match Place::Open(fd).list(&mut room) {
            Err(Errno::NOTSUP) => return Ok(()),
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

/// Not permitted, or (an owner outside of the user namespace, a filesystem without modes) not possible.
fn count(lost: &mut Kinds, kind: Attribute, result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::OVERFLOW) => {
            lost.insert(kind);
            Ok(())
        }
        result => result,
    }
}

/// Not permitted, or more than this filesystem takes for one entry: ext4 says that with ENOSPC. A disk that is really full
/// fails elsewhere.
fn is_refused(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::NOTSUP
            | Errno::OVERFLOW
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NOSPC
            | Errno::DQUOT
            // Without /proc there is no way to an attribute of a name.
            | Errno::NOENT
    )
}
