//! The certificate authorities of the pods, and the certificates that they issue.

pub mod pki;
pub mod signer;
