//! Tokens: the webhook records the permission of a user in a token, so that the controller can rely on it
//! (docs/protocol.md section 4.4; docs/decisions/0006-clone-tokens.md).
//!
//! A token is a compact JSON Web Token with one algorithm. The webhook writes a short token: this user may clone this
//! source to this target. The controller writes a long token: the same, for one UID of the target and of the source.
//! Neither replaces the other.
//!
//! * `claims`: the content of a token;
//! * `key`: the key that signs tokens;
//! * `seal`: signatures of annotations on pods and claims.

pub mod asker;
pub mod claims;
pub mod clone_token;
pub mod grant;
pub mod key;
pub mod seal;
