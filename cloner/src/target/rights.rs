//! What this process may do with owners.

use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

/// Whether it may give files away, and still finish, open again and remove what it gave away. Without the latter an
/// attempt that was interrupted could neither go on nor be cleaned up.
pub fn may_give_away() -> bool {
    let needed = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    // A sandbox may not know the question.
    capabilities(None).map_or_else(|_| geteuid().is_root(), |sets| sets.effective.contains(needed))
}
