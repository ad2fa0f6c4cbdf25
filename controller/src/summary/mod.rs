//! Summaries of clones from their DataVolumes or PVCs, for `kubectl decant` and the status page.

pub mod advice;
pub mod claim_summary;
pub mod clone_summary;
pub mod complaint;
pub mod pick;

#[cfg(test)]
mod tests;
