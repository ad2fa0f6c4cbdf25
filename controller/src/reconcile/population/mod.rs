//! Filling a PVC before it is bound (docs/protocol.md sections 3.6 and 7.6).
//!
//! The *target* PVC names a CloneSource or a VolumeCloneSource as its data source, so no provisioner binds it. The
//! controller creates a second PVC in the namespace of the source, the *prime*, and clones into it as into any other
//! PVC. Once its content is complete and durable, the prime is deleted, and its volume is handed over to the target.
//!
//! Users of the source's namespace can change the prime, so nothing is taken from it but what the controller sealed:
//! * `record` proves which PVC is the prime, and which volume is complete;
//! * `prime` builds the prime, and the view of it in which only trusted annotations remain;
//! * `restored` builds the temporary PVC that is restored from a snapshot, which has the same kind of record;
//! * `source_snapshot` builds the snapshot of a source that is in use, which has such a record too.

pub mod prime;
pub mod record;
pub mod restored;
pub mod source_snapshot;
