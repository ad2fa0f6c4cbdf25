//! The kinds of objects that the controller uses, and their paths at the API server.

/// A kind of object. No other kind is ever requested from the API server; some are used only by `kubectl decant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Kubernetes' own names.
pub enum Kind {
    DataVolume,
    DataSource,
    CloneSource,
    VolumeCloneSource,
    PersistentVolumeClaim,
    Pod,
    Secret,
    Event,
    Namespace,
    StorageClass,
    /// CDI's recommendations for the claims of a storage class, where its definition is installed.
    StorageProfile,
    /// CDI's settings as its controllers use them, where its definition is installed.
    CdiConfig,
    /// CDI's settings as its administrator wrote them, where its definition is installed.
    Cdi,
    PersistentVolume,
    CsiDriver,
    /// Where CSI snapshots are installed.
    VolumeSnapshot,
    /// Where CSI snapshots are installed.
    VolumeSnapshotContent,
    /// Where CSI snapshots are installed.
    VolumeSnapshotClass,
    Lease,
    SubjectAccessReview,
    /// Consent of a namespace to references from other namespaces, where its definition is installed.
    ReferenceGrant,
    /// The same kind in version `v1`, for clusters that no longer serve `v1beta1`.
    ReferenceGrantV1,
    /// The registration of a populator, where its definition is installed.
    VolumePopulator,
    /// Only for the certificate of the admission webhook.
    MutatingWebhookConfiguration,
    /// Only for the certificate of the admission webhook.
    ValidatingWebhookConfiguration,
    /// Only for `kubectl decant doctor`.
    CustomResourceDefinition,
    /// Only for `kubectl decant`.
    ConfigMap,
    /// Only for `kubectl decant`.
    Deployment,
    /// Only for `kubectl decant doctor`.
    Endpoints,
    /// Only for `kubectl decant doctor`.
    SelfSubjectAccessReview,
    /// Only for `kubectl decant rescue`: KubeVirt's.
    VirtualMachine,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 31] = [
        Kind::DataVolume,
        Kind::DataSource,
        Kind::CloneSource,
        Kind::VolumeCloneSource,
        Kind::PersistentVolumeClaim,
        Kind::Pod,
        Kind::Secret,
        Kind::Event,
        Kind::Namespace,
        Kind::StorageClass,
        Kind::StorageProfile,
        Kind::CdiConfig,
        Kind::Cdi,
        Kind::PersistentVolume,
        Kind::CsiDriver,
        Kind::VolumeSnapshot,
        Kind::VolumeSnapshotContent,
        Kind::VolumeSnapshotClass,
        Kind::Lease,
        Kind::SubjectAccessReview,
        Kind::ReferenceGrant,
        Kind::ReferenceGrantV1,
        Kind::VolumePopulator,
        Kind::MutatingWebhookConfiguration,
        Kind::ValidatingWebhookConfiguration,
        Kind::CustomResourceDefinition,
        Kind::ConfigMap,
        Kind::Deployment,
        Kind::Endpoints,
        Kind::SelfSubjectAccessReview,
        Kind::VirtualMachine,
    ];

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::DataVolume
            | Kind::DataSource
            | Kind::VolumeCloneSource
            | Kind::StorageProfile
            | Kind::CdiConfig
            | Kind::Cdi => "cdi.kubevirt.io",
            Kind::CloneSource => "decant.dev",
            Kind::ReferenceGrant | Kind::ReferenceGrantV1 => "gateway.networking.k8s.io",
            Kind::VolumePopulator => "populator.storage.k8s.io",
            Kind::StorageClass | Kind::CsiDriver => "storage.k8s.io",
            Kind::VolumeSnapshot | Kind::VolumeSnapshotContent | Kind::VolumeSnapshotClass => {
                "snapshot.storage.k8s.io"
            }
            Kind::Lease => "coordination.k8s.io",
            Kind::SubjectAccessReview | Kind::SelfSubjectAccessReview => "authorization.k8s.io",
            Kind::CustomResourceDefinition => "apiextensions.k8s.io",
            Kind::Deployment => "apps",
            Kind::VirtualMachine => "kubevirt.io",
            Kind::MutatingWebhookConfiguration | Kind::ValidatingWebhookConfiguration => {
                "admissionregistration.k8s.io"
            }
            Kind::PersistentVolumeClaim
            | Kind::PersistentVolume
            | Kind::Pod
            | Kind::Secret
            | Kind::Event
            | Kind::Namespace
            | Kind::ConfigMap
            | Kind::Endpoints => "",
        }
    }

    /// The version within the group.
    pub fn version(self) -> &'static str {
        match self {
            Kind::DataVolume
            | Kind::DataSource
            | Kind::VolumeCloneSource
            | Kind::StorageProfile
            | Kind::CdiConfig
            | Kind::Cdi
            | Kind::ReferenceGrant
            | Kind::VolumePopulator => "v1beta1",
            Kind::CloneSource => "v1alpha1",
            _ => "v1",
        }
    }

    /// `group/version`, or `v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The kind's name in objects.
    pub fn name(self) -> &'static str {
        match self {
            Kind::DataVolume => "DataVolume",
            Kind::DataSource => "DataSource",
            Kind::CloneSource => "CloneSource",
            Kind::VolumeCloneSource => "VolumeCloneSource",
            Kind::ReferenceGrant | Kind::ReferenceGrantV1 => "ReferenceGrant",
            Kind::VolumePopulator => "VolumePopulator",
            Kind::PersistentVolumeClaim => "PersistentVolumeClaim",
            Kind::Pod => "Pod",
            Kind::Secret => "Secret",
            Kind::Event => "Event",
            Kind::Namespace => "Namespace",
            Kind::StorageClass => "StorageClass",
            Kind::StorageProfile => "StorageProfile",
            Kind::CdiConfig => "CDIConfig",
            Kind::Cdi => "CDI",
            Kind::PersistentVolume => "PersistentVolume",
            Kind::CsiDriver => "CSIDriver",
            Kind::VolumeSnapshot => "VolumeSnapshot",
            Kind::VolumeSnapshotContent => "VolumeSnapshotContent",
            Kind::VolumeSnapshotClass => "VolumeSnapshotClass",
            Kind::Lease => "Lease",
            Kind::SubjectAccessReview => "SubjectAccessReview",
            Kind::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Kind::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Kind::CustomResourceDefinition => "CustomResourceDefinition",
            Kind::ConfigMap => "ConfigMap",
            Kind::Deployment => "Deployment",
            Kind::Endpoints => "Endpoints",
            Kind::SelfSubjectAccessReview => "SelfSubjectAccessReview",
            Kind::VirtualMachine => "VirtualMachine",
        }
    }

    /// The resource's name in paths and roles.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::DataVolume => "datavolumes",
            Kind::DataSource => "datasources",
            Kind::CloneSource => "clonesources",
            Kind::VolumeCloneSource => "volumeclonesources",
            Kind::ReferenceGrant | Kind::ReferenceGrantV1 => "referencegrants",
            Kind::VolumePopulator => "volumepopulators",
            Kind::PersistentVolumeClaim => "persistentvolumeclaims",
            Kind::Pod => "pods",
            Kind::Secret => "secrets",
            Kind::Event => "events",
            Kind::Namespace => "namespaces",
            Kind::StorageClass => "storageclasses",
            Kind::StorageProfile => "storageprofiles",
            Kind::CdiConfig => "cdiconfigs",
            Kind::Cdi => "cdis",
            Kind::PersistentVolume => "persistentvolumes",
            Kind::CsiDriver => "csidrivers",
            Kind::VolumeSnapshot => "volumesnapshots",
            Kind::VolumeSnapshotContent => "volumesnapshotcontents",
            Kind::VolumeSnapshotClass => "volumesnapshotclasses",
            Kind::Lease => "leases",
            Kind::SubjectAccessReview => "subjectaccessreviews",
            Kind::MutatingWebhookConfiguration => "mutatingwebhookconfigurations",
            Kind::ValidatingWebhookConfiguration => "validatingwebhookconfigurations",
            Kind::CustomResourceDefinition => "customresourcedefinitions",
            Kind::ConfigMap => "configmaps",
            Kind::Deployment => "deployments",
            Kind::Endpoints => "endpoints",
            Kind::SelfSubjectAccessReview => "selfsubjectaccessreviews",
            Kind::VirtualMachine => "virtualmachines",
        }
    }

    /// The path of the collection, in a namespace or in the whole cluster.
    pub fn path(self, namespace: Option<&str>) -> String {
        let base = match self.group() {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/{}", self.version()),
        };
        match namespace {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{}", self.plural()),
            None => format!("{base}/{}", self.plural()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Kind::Pod.path(Some("n")), "/api/v1/namespaces/n/pods");
        assert_eq!(Kind::DataVolume.path(None), "/apis/cdi.kubevirt.io/v1beta1/datavolumes");
        let group = "/apis/gateway.networking.k8s.io";
        for (kind, version) in [(Kind::ReferenceGrant, "v1beta1"), (Kind::ReferenceGrantV1, "v1")] {
            assert_eq!(kind.path(Some("n")), format!("{group}/{version}/namespaces/n/referencegrants"));
        }
    }
}
