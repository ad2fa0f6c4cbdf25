//! Users who interfere.
