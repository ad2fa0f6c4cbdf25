//! What the controller reads of Kubernetes' objects: small typed views, never whole objects.
//!
//! A view keeps the fields that a decision needs. What the API server sends besides is dropped while parsing, so
//! ten thousand DataVolumes fit into a few megabytes.

pub mod claim;
pub mod data_source;
pub mod data_volume;
pub mod key;
pub mod kind;
pub mod meta;
pub(crate) mod object;
mod packed;
pub mod pod;
pub mod storage_class;
mod view;

pub use claim::Claim;
pub use data_source::DataSource;
pub use data_volume::DataVolume;
pub use key::{Key, Uid};
pub use kind::Kind;
pub use meta::{Meta, OwnerReference};
pub use packed::Packed;
pub use pod::Pod;
pub use storage_class::StorageClass;
pub use view::view;
