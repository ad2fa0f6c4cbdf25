//! Hard links: another name for something that the archive had before, found without leaving the tree.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, linkat, statat};
use rustix::io::Errno;

use crate::attributes::name::shown;
use crate::error::{Error, Result};
use crate::tar::entry::Entry;
use crate::volume::tree::write::beneath::open_below;
use crate::volume::tree::write::member_name::MemberName;
use crate::volume::tree::write::tree::TreeWriter;

impl TreeWriter<'_> {
    /// Makes the hard link `entry` under `name` in the current directory. It has no attributes of its own.
    pub(super) fn hard_link(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        let (shown_name, shown_link) = (shown(&entry.name), shown(&entry.link));
        let bad = |why: &str| Error::damaged(format!("{shown_name} is a hard link to {shown_link}, {why}"));
        let (parent, link_name) = MemberName::new(&entry.link)
            .map_err(|error| error.within(&shown_name))?
            .split()
            .ok_or_else(|| bad("the folder itself"))?;
        let far = if self.directories.is_current(parent) {
            None
        } else {
            Some(open_below(self.directories.root(), parent).map_err(|cause| match cause {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => {
                    bad("which is not in the archive")
                }
                cause => self.failed("find the link target of", entry, cause),
            })?)
        };
        let link_parent = far.as_ref().map_or_else(|| self.directories.current(), AsFd::as_fd);
        let target = statat(link_parent, link_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| bad("which is not in the archive"))?;
        if FileType::from_raw_mode(target.st_mode) == FileType::Directory {
            return Err(bad("a folder"));
        }
        let is_same = statat(self.directories.current(), name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|own| (own.st_dev, own.st_ino) == (target.st_dev, target.st_ino));
        if is_same {
            return self.refuse_other_name(entry, name);
        }
        self.create(entry, name, |directories| {
            let link_parent = far.as_ref().map_or_else(|| directories.current(), AsFd::as_fd);
            linkat(link_parent, link_name, directories.current(), name, AtFlags::empty())
        })
    }
}
