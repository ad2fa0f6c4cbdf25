//! Reads PEM. The only file that uses rustls-pemfile (docs/dependencies.md says why it is used).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Identity, TlsConfigError};

/// The size limit of a Secret or ConfigMap; more than any bundle of authorities in use.
const PEM_LIMIT_BYTES: u64 = 1 << 20;

/// Reads a PEM file: a regular file of at most 1 MiB; symbolic links are followed. For any kind of file it never blocks and
/// never holds more than 1 MiB in memory. The error names the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, TlsConfigError> {
    let error = |why: String| TlsConfigError(format!("cannot read {}: {why}", path.display()));
    // NONBLOCK: opening a pipe without a writer would block. It is refused below.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| error(io::Error::from(e).to_string()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(|e| error(e.to_string()))?;
    if !meta.is_file() {
        return Err(error("it is not a regular file".to_owned()));
    }
    let mut content = Vec::new();
    // The reported size is not used: the file may grow, and files in /proc report 0.
    file.take(PEM_LIMIT_BYTES + 1).read_to_end(&mut content).map_err(|e| error(e.to_string()))?;
    if content.len() as u64 > PEM_LIMIT_BYTES {
        return Err(error(format!("the file is larger than {PEM_LIMIT_BYTES} bytes")));
    }
    Ok(content)
}

/// The certificates in `pem`, at least one. `what` names the source of `pem` for messages.
pub fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found = rustls_pemfile::certs(&mut &*pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsConfigError(format!("{what} contains invalid PEM: {e}")))?;
    if found.is_empty() {
        return Err(TlsConfigError(format!("{what} contains no PEM certificate")));
    }
    Ok(found)
}

/// The first private key in `pem` (PKCS#8, PKCS#1 or SEC1).
pub fn private_key(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    rustls_pemfile::private_key(&mut &*pem)
        .map_err(|e| TlsConfigError(format!("{what} contains invalid PEM: {e}")))?
        .ok_or_else(|| TlsConfigError(format!("{what} contains no PEM private key")))
}

/// A chain and its key. That they match is checked only when a configuration is built from them.
pub fn identity(
    chain_pem: &[u8],
    chain_what: &str,
    key_pem: &[u8],
    key_what: &str,
) -> Result<Identity, TlsConfigError> {
    Ok(Identity { chain: certificates(chain_pem, chain_what)?, key: private_key(key_pem, key_what)? })
}

/// A trust store of exactly the authorities in `pem`. An empty store is an error here; CDI silently uses an empty store
/// (docs/protocol.md section 1.4) or plain HTTP (docs/migrate-from-cdi.md row 36).
pub fn authorities(pem: &[u8], what: &str) -> Result<RootCertStore, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(pem, what)?.into_iter().enumerate() {
        store.add(certificate).map_err(|e| {
            TlsConfigError(format!("certificate {} in {what} is not an authority: {e}", index + 1))
        })?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_source_of_text_without_pem() {
        let error = certificates(b"hello", "SERVER_CA_CERT").unwrap_err();
        assert_eq!(error.0, "SERVER_CA_CERT contains no PEM certificate");
        let error = private_key(b"", "CLIENT_KEY").unwrap_err();
        assert_eq!(error.0, "CLIENT_KEY contains no PEM private key");
    }

    #[test]
    fn a_certificate_of_invalid_der_is_not_an_authority() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = authorities(pem, "ca.crt").unwrap_err();
        assert!(error.0.starts_with("certificate 1 in ca.crt is not an authority"), "{error}");
    }

    #[test]
    fn the_error_names_a_missing_file() {
        let error = read_file(Path::new("/nowhere/tls.key")).unwrap_err();
        assert!(error.0.contains("/nowhere/tls.key"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_regular_is_refused_without_blocking() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [pipe.as_path(), directory.path(), Path::new("/dev/zero")] {
            let error = read_file(path).unwrap_err();
            assert!(error.0.ends_with("it is not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_huge_file_is_refused_without_reading_all_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        let error = read_file(file.path()).unwrap_err();
        assert!(error.0.ends_with("the file is larger than 1048576 bytes"), "{error}");
    }
}
