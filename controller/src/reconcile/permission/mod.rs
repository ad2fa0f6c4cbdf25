//! Whether a clone may be made (docs/protocol.md section 4.4).
//!
//! * [`mod@check`] is pure: its only input is the [`check::Ask`];
//! * `judge` asks the API server for what `check` cannot know;
//! * `grants` finds ReferenceGrants;
//! * `rights` checks what a user may do, `guarded` whether the webhook is configured as required;
//! * `asker` is the user who asked.
//!
//! A user without permission gets the same message whether the source exists or not.

pub mod check;
pub(crate) mod grants;
pub mod guarded;
pub mod judge;
pub mod rights;
