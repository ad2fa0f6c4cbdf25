//! The configurations of the admission webhook: their names, their paths, and the Secret of the authority that they
//! trust (docs/protocol.md section 4.3).

/// Name of the mutating configuration (docs/protocol.md section 4.3).
pub const MUTATING: &str = "cdi-api-datavolume-mutate";
/// Name of the validating configuration (docs/protocol.md section 4.3).
pub const VALIDATING: &str = "cdi-api-datavolume-validate";
/// The path of mutating reviews.
pub const MUTATE_PATH: &str = "/datavolume-mutate";
/// The path of validating reviews.
pub const VALIDATE_PATH: &str = "/datavolume-validate";

/// The Secret of the authority that signs the webhook's certificates (docs/protocol.md section 4.3).
pub const SIGNER_SECRET: &str = "cdi-apiserver-signer";
