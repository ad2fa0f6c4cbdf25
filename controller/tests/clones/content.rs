//! What is in a volume, seen from outside of the cluster.

use std::io::Read;
use std::path::Path;

use crate::environment::TestEnv;

/// The first bytes of a device, or of the disk image in a directory.
pub(crate) fn content(path: &Path, bytes: usize) -> Vec<u8> {
    let path = if path.is_dir() { path.join("disk.img") } else { path.to_path_buf() };
    let mut content = vec![0; bytes];
    std::fs::File::open(&path).unwrap().read_exact(&mut content).unwrap();
    content
}

/// Fails when the volume behind `claim` does not begin with `expected`.
pub(crate) fn assert_content(env: &TestEnv, claim: &str, expected: &[u8]) {
    // Not with assert_eq, which would print fifty megabytes.
    assert!(content(&env.backing_path(claim), expected.len()) == expected, "{claim} differs from its source");
}
