//! The objects that a clone consists of, as JSON. Pure: the same input gives the same object.

pub mod claim;
pub mod class_defaults;
pub mod clone_pods;
pub mod direct;
pub mod identity;
pub mod image_size;
pub mod inherited;
pub mod keys;
pub mod made;
pub mod role;
pub mod secret;
pub mod source;
pub mod target;
pub mod template;
pub mod termination;
