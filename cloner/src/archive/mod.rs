//! Tar in our own process.
