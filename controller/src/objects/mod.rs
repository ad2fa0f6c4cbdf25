//! What the controller reads of Kubernetes' objects: small typed views, never whole objects.
//!
//! A view keeps the fields that a decision needs. What the API server sends besides is skipped while parsing, so
//! ten thousand DataVolumes fit into a few megabytes, and neither its size nor its depth matters.

pub mod annotations;
mod checked;
pub mod claim;
pub mod claim_template;
pub mod clone_request;
pub mod clone_source;
pub mod cluster_config;
pub mod crds;
pub mod data_source;
pub mod data_volume;
mod decode;
pub mod key;
pub mod kind;
pub mod label_syntax;
mod lean;
pub mod meta;
pub mod names;
mod object;
pub mod phase;
pub mod placement;
pub mod pod;
pub mod pod_settings;
pub mod reason;
pub mod reference_grant;
mod secret;
pub mod storage_class;
pub mod storage_profile;
pub mod volume;
pub mod volume_populator;
pub mod webhook_configuration;

pub use checked::Checked;
pub use claim::Claim;
pub use claim_template::ClaimTemplate;
pub use clone_source::{CloneSource, PopulatorKind, PopulatorRef, VolumeCloneSource};
pub use data_source::DataSource;
pub use data_volume::DataVolume;
pub use decode::{DECODE_LIMIT_BYTES, Readable, Unreadable, decode, decode_within};
pub use key::{Key, Uid};
pub use kind::Kind;
pub use meta::{Meta, OwnerReference};
pub use object::Object;
pub use phase::{ClaimPhase, ConditionStatus, ConditionType, DataVolumePhase, PodPhase};
pub use pod::Pod;
pub use reason::Reason;
pub use secret::Secret;
pub use storage_class::StorageClass;
pub use storage_profile::StorageProfile;
pub use volume::Volume;
