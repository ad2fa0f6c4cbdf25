//! The admission webhook: denies invalid DataVolumes, and issues tokens to users who may clone from another namespace
//! (docs/protocol.md sections 4.3, 4.4).
//!
//! * `review`: request and response, `excerpt`: quotes from requests;
//! * `mutate`: issues and protects tokens, `authorize`: whether a user may have one;
//! * `validate`: denies, `spec`: compares;
//! * `serve`: the server, `review_slots`: limits its memory, `callers`: its clients, `identity`: its certificate,
//!   `configuration`: makes the API server trust it.

pub(crate) mod authorize;
pub mod callers;
pub(crate) mod configuration;
pub(crate) mod excerpt;
pub mod gate;
pub mod identity;
pub(crate) mod mutate;
pub(crate) mod review;
pub(crate) mod review_slots;
pub mod serve;
pub(crate) mod spec;
pub(crate) mod strict;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
pub(crate) mod validate;
