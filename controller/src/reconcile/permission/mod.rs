//! Whether a clone may be made (contract 4.4).
//!
//! * [`check`] is pure: everything that counts is in the [`Ask`];
//! * `judge` asks the API server what `check` cannot know;
//! * `rights` asks what a user may, `guarded` whether the webhook stands where it has to;
//! * `asker` is who asked.
//!
//! Who has no permission is told the same whether the source exists or not.

pub mod check;
pub mod guarded;
pub mod judge;
pub mod rights;
