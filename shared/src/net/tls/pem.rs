//! PEM in. The only file that names rustls-pemfile (see docs/dependencies.md for why it is used at all).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Identity, Unusable};

/// More than any bundle of authorities in use, and as much as a Secret or ConfigMap can hold.
const PEM_LIMIT_BYTES: u64 = 1 << 20;

/// Reads a PEM file: a regular file, also behind symbolic links, of at most 1 MiB. It never waits, and never holds more
/// than that in memory, whatever the path leads to. The error names the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    let complain = |why: String| Unusable(format!("cannot read {}: {why}", path.display()));
    // A pipe that nothing writes to is opened at once, and then refused.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| complain(io::Error::from(e).to_string()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(|e| complain(e.to_string()))?;
    if !meta.is_file() {
        return Err(complain("it is not a regular file".to_owned()));
    }
    let mut content = Vec::new();
    // The size that the file says it has is of no use: it may grow, and files of /proc say 0.
    file.take(PEM_LIMIT_BYTES + 1).read_to_end(&mut content).map_err(|e| complain(e.to_string()))?;
    if content.len() as u64 > PEM_LIMIT_BYTES {
        return Err(complain(format!("more than {PEM_LIMIT_BYTES} bytes are too many for PEM")));
    }
    Ok(content)
}

/// The certificates in `pem`, at least one. `what` names the place for messages.
pub fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found = rustls_pemfile::certs(&mut &*pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Unusable(format!("{what} holds damaged PEM: {e}")))?;
    if found.is_empty() {
        return Err(Unusable(format!("{what} holds no PEM certificate")));
    }
    Ok(found)
}

/// The first private key in `pem` (PKCS#8, PKCS#1 or SEC1).
pub fn private_key(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, Unusable> {
    rustls_pemfile::private_key(&mut &*pem)
        .map_err(|e| Unusable(format!("{what} holds damaged PEM: {e}")))?
        .ok_or_else(|| Unusable(format!("{what} holds no PEM private key")))
}

/// A chain and its key; whether they belong together shows when a configuration is built from them.
pub fn identity(
    chain_pem: &[u8],
    chain_what: &str,
    key_pem: &[u8],
    key_what: &str,
) -> Result<Identity, Unusable> {
    Ok(Identity { chain: certificates(chain_pem, chain_what)?, key: private_key(key_pem, key_what)? })
}

/// A trust store of exactly the authorities in `pem`. Where CDI silently ends up with an empty store
/// (contract 1.4) or plain HTTP (contract 8, #36), this is an error.
pub fn authorities(pem: &[u8], what: &str) -> Result<RootCertStore, Unusable> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(pem, what)?.into_iter().enumerate() {
        store
            .add(certificate)
            .map_err(|e| Unusable(format!("certificate {} in {what} is not an authority: {e}", index + 1)))?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_pem_is_named() {
        let error = certificates(b"hello", "SERVER_CA_CERT").unwrap_err();
        assert_eq!(error.0, "SERVER_CA_CERT holds no PEM certificate");
        let error = private_key(b"", "CLIENT_KEY").unwrap_err();
        assert_eq!(error.0, "CLIENT_KEY holds no PEM private key");
    }

    #[test]
    fn a_certificate_that_is_no_der_is_not_an_authority() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = authorities(pem, "ca.crt").unwrap_err();
        assert!(error.0.starts_with("certificate 1 in ca.crt is not an authority"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_file(Path::new("/nowhere/tls.key")).unwrap_err();
        assert!(error.0.contains("/nowhere/tls.key"), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read_file(path).unwrap_err();
            assert!(error.0.ends_with("it is not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_in_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // It would not fit.
        file.as_file().set_len(1 << 40).unwrap();
        let error = read_file(file.path()).unwrap_err();
        assert!(error.0.ends_with("more than 1048576 bytes are too many for PEM"), "{error}");
    }
}
