//! What the controller reads of Kubernetes' objects: small typed views, never whole objects.
//!
//! A view keeps the fields that a decision needs. What the API server sends besides is skipped while parsing, so
//! ten thousand DataVolumes fit into a few megabytes, and neither its size nor its depth matters.

mod checked;
pub mod claim;
pub mod data_source;
pub mod data_volume;
pub mod key;
pub mod kind;
pub mod meta;
mod object;
pub mod pod;
mod secret;
pub mod storage_class;
pub mod template;
mod view;
pub mod volume;

pub use checked::Checked;
pub use claim::Claim;
pub use data_source::DataSource;
pub use data_volume::DataVolume;
pub use key::{Key, Uid};
pub use kind::Kind;
pub use meta::{Meta, OwnerReference};
pub use object::Object;
pub use pod::Pod;
pub use secret::Secret;
pub use storage_class::StorageClass;
pub use template::ClaimTemplate;
pub use view::{Readable, Unreadable, VIEW_LIMIT_BYTES, view, view_within};
pub use volume::Volume;
