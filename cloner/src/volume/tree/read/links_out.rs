//! Finds out whether files of a tree have names outside of it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fs::FileType;

use crate::error::Result;
use crate::volume::tree::read::walk::{NAMES_BUDGET_BYTES, WalkBudget, WalkDirectory, walk};

/// The maximum number of files that are remembered until all their names are found. With the table they take 4 MiB.
const FILES_LIMIT: usize = 64 << 10;

/// Whether a file in the directory `root` has, or may have, a name outside of it. With more files than [`FILES_LIMIT`]
/// this is unknown, and the result is `true`. `root_path` is for messages. Directories have no further names.
pub(crate) fn has_links_elsewhere(root: &OwnedFd, root_path: &Path, stop: &Stop) -> Result<bool> {
    let mut missing: HashMap<(u64, u64), u64> = HashMap::new();
    let mut is_too_much = false;
    let budget = WalkBudget { names_bytes: NAMES_BUDGET_BYTES, opens_ahead: false };
    walk(root, root_path, budget, stop, &mut |found, _| {
        let looked = found.lstat(false)?;
        let meta = looked.meta;
        if meta.file_type == FileType::Directory {
            return Ok(looked.fd.map(|fd| WalkDirectory { fd, meta }));
        }
        if meta.links > 1 && !is_too_much {
            is_too_much = missing.len() >= FILES_LIMIT && !missing.contains_key(&meta.identity());
            let left = missing.entry(meta.identity()).or_insert(meta.links);
            *left = left.saturating_sub(1);
            if *left == 0 {
                missing.remove(&meta.identity());
            }
        }
        Ok(None)
    })?;
    Ok(is_too_much || !missing.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_name_outside_of_the_tree_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("tree/sub")).unwrap();
        fs::write(at("tree/one"), "one").unwrap();
        fs::hard_link(at("tree/one"), at("tree/sub/again")).unwrap();
        fs::write(at("tree/other"), "other").unwrap();
        let root = OwnedFd::from(fs::File::open(at("tree")).unwrap());
        let is_linked = || has_links_elsewhere(&root, &at("tree"), &Stop::new()).unwrap();
        assert!(!is_linked());
        fs::hard_link(at("tree/other"), at("outside")).unwrap();
        assert!(is_linked());
    }
}
