//! The authorities of the pods' certificates, and the certificates that they sign.

pub mod pki;
pub mod signer;
