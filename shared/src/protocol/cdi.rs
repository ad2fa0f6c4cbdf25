//! Names and numbers that CDI and Kubernetes see (contract, sections 1, 2, 3 and 6). They never change.

use std::fmt;
use std::str::FromStr;

/// Header that carries the [`ContentType`].
pub const CONTENT_TYPE_HEADER: &str = "x-cdi-content-type";
/// Header in which our source announces how many logical bytes the stream has. Receivers that do not know it
/// ignore it.
pub const LENGTH_HEADER: &str = "x-decant-length";
/// Header in which our source says that it knows our target, and how many segments of the content it need not send.
pub const RESUME_HEADER: &str = "x-decant-resume";
/// Header in which our source says that its archive holds all attributes of its entries.
pub const ATTRIBUTES_HEADER: &str = "x-decant-attributes";
/// Header in which our source says that this is one of several connections of a clone, and which one.
pub const STREAM_HEADER: &str = "x-decant-stream";
/// Header of a question for digests: from which segment on.
pub const FROM_HEADER: &str = "x-decant-from";
/// Where a target tells how far it is.
pub const SESSION_PATH: &str = "/v1/session";
/// Port of the receiver, and of the source's metrics page.
pub const TLS_PORT: u16 = 8443;
/// Plain-text port of `/healthz` for controllers up to CDI 1.60.
pub const PLAIN_HEALTH_PORT: u16 = 8080;
/// The file whose content Kubernetes shows as a container's termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Longest termination message that the kubelet keeps.
pub const TERMINATION_LIMIT_BYTES: usize = 4096;
/// The setting of container runtimes (containerd, CRI-O) without which a pod whose user is not root cannot open its block
/// devices. Errors name it, and `kubectl decant doctor` looks for it in what pods say.
pub const DEVICE_OWNERSHIP_SETTING: &str = "device_ownership_from_security_context";
/// A file of this name at a filesystem volume's root is the volume's disk image.
pub const DISK_IMAGE: &str = "disk.img";
/// Mode of a disk image.
pub const DISK_IMAGE_MODE: u32 = 0o660;
/// Where a filesystem target is mounted.
pub const TARGET_FOLDER: &str = "/data";
/// Default of `DESTINATION`: a disk image in the target folder.
pub const DEFAULT_DESTINATION: &str = "/data/disk.img";
/// Name of the clone's progress, in percent, from CDI 1.60 on.
pub const PROGRESS_METRIC: &str = "kubevirt_cdi_clone_progress_total";
/// Name of the same value before CDI 1.60.
pub const OLD_PROGRESS_METRIC: &str = "clone_progress";
/// Their only label: the UID of the DataVolume or of the target PVC.
pub const OWNER_LABEL: &str = "ownerUID";
/// Variable of both pods that names the directory in which renewed keys appear: numbered subdirectories, one for each
/// generation.
pub const RENEWED_KEYS_VARIABLE: &str = "DECANT_RENEWED_KEYS";
/// The last generation of renewed keys that a pod looks for; the first is 1.
pub const RENEWED_KEYS_LIMIT: u8 = 8;
/// The key of a pod in a generation's subdirectory.
pub const KEY_FILE: &str = "tls.key";
/// The certificate of a pod there, and what leads from it to its authority.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The authorities there that vouch for the other end.
pub const AUTHORITIES_FILE: &str = "ca.crt";
/// The key of a source's metrics page there.
pub const METRICS_KEY_FILE: &str = "metrics.key";
/// The certificate of a source's metrics page there.
pub const METRICS_CERTIFICATE_FILE: &str = "metrics.crt";

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// A tar archive of a filesystem volume's files.
    Filesystem,
    /// The raw content of a block volume.
    Block,
}

impl ContentType {
    /// The word on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Filesystem => "filesystem-clone",
            ContentType::Block => "blockdevice-clone",
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ContentType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "filesystem-clone" => Ok(ContentType::Filesystem),
            "blockdevice-clone" => Ok(ContentType::Block),
            other => {
                Err(format!("invalid content-type {other:?}: use filesystem-clone or blockdevice-clone"))
            }
        }
    }
}

/// Whether `path` of a request is one to which a clone is uploaded in one step (contract 2.3).
pub fn is_upload_path(path: &str) -> bool {
    let archive = path.strip_suffix("-archive").unwrap_or(path);
    matches!(archive, "/v1beta1/upload" | "/v1alpha1/upload")
}

/// Whether `path` is one of CDI's upload paths that take no clone: asynchronous ones and forms.
pub fn is_other_upload_path(path: &str) -> bool {
    let rest = path.strip_prefix("/v1beta1/upload-").or_else(|| path.strip_prefix("/v1alpha1/upload-"));
    matches!(rest, Some("async" | "form" | "form-async"))
}

/// Whether a `HEAD` request to `path` is answered 200 before anything is checked (contract 2.4, row 0).
pub fn is_async_path(path: &str) -> bool {
    is_other_upload_path(path) && path.ends_with("async")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_those_of_the_contract() {
        for path in ["/v1beta1/upload", "/v1alpha1/upload", "/v1beta1/upload-archive"] {
            assert!(is_upload_path(path) && !is_other_upload_path(path), "{path}");
        }
        for path in ["/v1beta1/upload-async", "/v1alpha1/upload-form", "/v1beta1/upload-form-async"] {
            assert!(is_other_upload_path(path) && !is_upload_path(path), "{path}");
        }
        assert!(!is_upload_path("/v1/upload") && !is_other_upload_path("/v1beta1/upload-x"));
        assert!(is_async_path("/v1beta1/upload-form-async") && !is_async_path("/v1beta1/upload-form"));
    }
}
