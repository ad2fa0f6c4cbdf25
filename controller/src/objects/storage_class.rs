//! A StorageClass.

use serde::Deserialize;

use crate::objects::meta::Meta;

/// What is read of a StorageClass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    /// Metadata.
    pub metadata: Meta,
    /// The provisioner that creates the volumes.
    pub provisioner: String,
    /// `Immediate` or `WaitForFirstConsumer`.
    pub volume_binding_mode: String,
}

impl StorageClass {
    /// Whether a claim is bound only once a pod uses it.
    pub fn waits_for_consumer(&self) -> bool {
        self.volume_binding_mode == "WaitForFirstConsumer"
    }

    /// Whether claims for the disks of virtual machines get this one if they name none.
    pub fn is_virt_default(&self) -> bool {
        self.metadata.is_annotated_true("storageclass.kubevirt.io/is-default-virt-class")
    }

    /// Whether claims without a class get this one.
    pub fn is_default(&self) -> bool {
        self.metadata.is_annotated_true("storageclass.kubernetes.io/is-default-class")
    }
}
