//! The admission webhook: refuses DataVolumes that make no sense, and writes down who may clone from another
//! namespace (contract 4.3, 4.4).
//!
//! * `review` is what the API server sends and gets, `excerpt` what is repeated of it;
//! * `mutate` gives and guards tokens, `authorize` asks whether a user may have one;
//! * `validate` refuses, `spec` compares;
//! * `serve` is the server, `review_slots` bounds its memory, `callers` says who is answered, `identity` is its certificate,
//!   `configuration` makes the API server trust it.

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
