//! The names and numbers on which both ends rely: those of CDI and Kubernetes, and the headers and variables that Decant adds
//! (docs/protocol.md sections 1, 2, 3 and 6). They never change.

use std::fmt;
use std::str::FromStr;

/// Header that carries the [`ContentType`].
pub const CONTENT_TYPE_HEADER: &str = "x-cdi-content-type";
/// Header with the number of logical bytes in the stream. CDI's receiver ignores it.
pub const LENGTH_HEADER: &str = "x-decant-length";
/// Header by which a source announces that it supports resuming, with the number of segments that it does not send.
pub const RESUME_HEADER: &str = "x-decant-resume";
/// Header by which a source announces that its archive has all attributes of its entries.
pub const ATTRIBUTES_HEADER: &str = "x-decant-attributes";
/// Header with the [`StreamId`](crate::protocol::stream_id::StreamId) of one of several connections of a clone.
pub const STREAM_HEADER: &str = "x-decant-stream";
/// Header of a query for digests: the number of the first segment to report.
pub const FROM_HEADER: &str = "x-decant-from";
/// Path at which a target reports its progress.
pub const SESSION_PATH: &str = "/v1/session";
/// Port of the receiver, and of the source's metrics page.
pub const TLS_PORT: u16 = 8443;
/// Plain-text port of `/healthz`, for controllers up to CDI 1.60.
pub const PLAIN_HEALTH_PORT: u16 = 8080;
/// The file whose content becomes the container's termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Maximum length of a termination message in the kubelet.
pub const TERMINATION_LIMIT_BYTES: usize = 4096;
/// The setting of container runtimes (containerd, CRI-O) without which a pod with a non-root user cannot open its block
/// devices. Error messages name it, and `kubectl decant doctor` looks for it in the messages of pods.
pub const DEVICE_OWNERSHIP_SETTING: &str = "device_ownership_from_security_context";
/// Name of the disk image in the root directory of a filesystem volume.
pub const DISK_IMAGE: &str = "disk.img";
/// File mode of a disk image.
pub const DISK_IMAGE_MODE: u32 = 0o660;
/// Where a filesystem target is mounted.
pub const TARGET_DIRECTORY: &str = "/data";
/// Default of `DESTINATION`: a disk image in the target directory.
pub const DEFAULT_DESTINATION: &str = "/data/disk.img";
/// Metric of the clone's progress in percent, from CDI 1.60 on.
pub const PROGRESS_METRIC: &str = "kubevirt_cdi_clone_progress_total";
/// The same metric before CDI 1.60.
pub const OLD_PROGRESS_METRIC: &str = "clone_progress";
/// The only label of both progress metrics: the UID of the DataVolume or of the target PVC.
pub const OWNER_LABEL: &str = "ownerUID";
/// Environment variable of both pods with the directory for renewed keys: numbered subdirectories, one for each generation.
pub const RENEWED_KEYS_VARIABLE: &str = "DECANT_RENEWED_KEYS";
/// The highest generation of renewed keys that a pod looks for; the first is 1.
pub const RENEWED_KEYS_LIMIT: u8 = 8;
/// A pod's private key in the subdirectory of a generation.
pub const KEY_FILE: &str = "tls.key";
/// A pod's certificate and its intermediates in that subdirectory.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The authorities in that subdirectory, for verifying the peer.
pub const AUTHORITIES_FILE: &str = "ca.crt";
/// The private key of a source's metrics page in that subdirectory.
pub const METRICS_KEY_FILE: &str = "metrics.key";
/// The certificate of a source's metrics page in that subdirectory.
pub const METRICS_CERTIFICATE_FILE: &str = "metrics.crt";

/// The kind of content in a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// A tar archive of a filesystem volume's files.
    Filesystem,
    /// The raw content of a block volume.
    Block,
}

impl ContentType {
    /// The value in the header and on the command line.
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

/// Whether a clone can be uploaded to `path` with one request (docs/protocol.md section 2.3).
pub fn is_upload_path(path: &str) -> bool {
    let plain = path.strip_suffix("-archive").unwrap_or(path);
    matches!(plain, "/v1beta1/upload" | "/v1alpha1/upload")
}

/// Whether `path` is one of CDI's upload paths that do not accept clones: asynchronous uploads and forms.
pub fn is_other_upload_path(path: &str) -> bool {
    let rest = path.strip_prefix("/v1beta1/upload-").or_else(|| path.strip_prefix("/v1alpha1/upload-"));
    matches!(rest, Some("async" | "form" | "form-async"))
}

/// Whether a `HEAD` request to `path` is answered with 200 before any check (docs/protocol.md section 2.4, row 0).
pub fn is_async_path(path: &str) -> bool {
    is_other_upload_path(path) && path.ends_with("async")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upload_paths_are_those_of_cdi() {
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
