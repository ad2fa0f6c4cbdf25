//! The stream that a destination is written from.

use std::rc::Rc;

use decant_shared::protocol::progress::Progress;

use crate::digest::ContentDigest;
use crate::error::Result;
use crate::stream::Pull;
use crate::tar::reader::VerifyContent;
use crate::writing::Verification;
use crate::writing::sync::Pacer;

/// Follows the content of an archive, and knows the digest at its end.
pub trait ContentVerifier: VerifyContent {
    /// The digest of the content; `None` before its end.
    fn found(&self) -> Option<ContentDigest>;
}

/// A logical stream whose content is verified, and that paces its writer.
pub trait CheckedStream<'a>: Pull {
    /// The counters of this transfer.
    fn progress(&self) -> &'a Progress;

    /// The verifier of the content.
    fn verifier(&self) -> Rc<dyn ContentVerifier>;

    /// Sets what is told about each piece that was written.
    fn set_pacer(&mut self, pacer: Option<Pacer>);

    /// After everything was written: drops the rest of the stream. Returns the length of the stream and the
    /// verification of its content.
    fn finish(&mut self) -> Result<(u64, Verification)>;
}
