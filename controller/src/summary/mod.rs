//! Summaries of clones from their DataVolumes, for `kubectl decant` and the status page.

pub mod advice;
pub mod clone_summary;
pub mod complaint;
pub mod pick;

#[cfg(test)]
mod tests;
