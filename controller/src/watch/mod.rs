//! Watches that fill typed stores, and the queue of the keys that have to be looked at.

pub mod backoff;
pub mod queue;
pub mod store;
pub mod unreadable;
pub mod watcher;
