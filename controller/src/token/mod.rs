//! Tokens: what the webhook found out about a user, written down so that the controller can rely on it
//! (contract 4.4; docs/decisions/0006-clone-tokens.md).
//!
//! A compact JSON Web Token with one algorithm. The short one is the webhook's: this user may clone this source to this
//! target. The long one is the controller's: the same, for exactly one object of the target's name and one of the
//! source's. Neither takes the place of the other.
//!
//! * `claims` is what a token says;
//! * `key` is who can write one;
//! * `seal` is the same for what is written on pods and claims.

pub mod asker;
pub mod claims;
pub mod clone_token;
pub mod grant;
pub mod key;
pub mod seal;
