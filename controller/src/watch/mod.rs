//! Watches that fill typed stores, and the queue of the keys to reconcile.

pub mod backoff;
pub mod queue;
pub mod store;
pub mod unreadable;
pub mod watcher;
