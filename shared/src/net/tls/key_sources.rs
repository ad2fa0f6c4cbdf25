//! Where the keys of a process are: the keys that it was started with, and the directory for renewed keys.

use std::path::PathBuf;

use rustls::RootCertStore;

use super::{Identity, TlsConfigError, pem};
use crate::protocol::cdi::{RENEWED_KEYS_LIMIT, RENEWED_KEYS_VARIABLE};

/// One value for each part of a set of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet<T> {
    /// For the certificate, leaf first, and its intermediates.
    pub chain: T,
    /// For the leaf's private key.
    pub key: T,
    /// For the authorities that the peer's certificate is verified with; `None` if the peer has no certificate.
    pub authorities: Option<T>,
}

impl<T> KeySet<T> {
    fn try_map<U>(
        &self,
        mut read: impl FnMut(&T) -> Result<U, TlsConfigError>,
    ) -> Result<KeySet<U>, TlsConfigError> {
        Ok(KeySet {
            chain: read(&self.chain)?,
            key: read(&self.key)?,
            authorities: self.authorities.as_ref().map(read).transpose()?,
        })
    }
}

/// Where one part of the initial keys is.
#[derive(Clone)]
pub enum KeySource {
    /// In a file, which is re-read.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The environment variable that names the file.
        variable: String,
    },
    /// In an environment variable, which never changes.
    Variable {
        /// The PEM text.
        text: String,
        /// The name of the variable.
        variable: String,
    },
}

/// The PEM text of one part, with a label for messages. It has no `Debug`: it may be a private key.
#[derive(Clone)]
pub struct Pem {
    text: Vec<u8>,
    label: String,
}

impl Pem {
    /// Where the text comes from, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl KeySet<Pem> {
    /// The certificate and its key. That they match is checked only when a configuration is built from them.
    pub fn identity(&self) -> Result<Identity, TlsConfigError> {
        pem::identity(&self.chain.text, &self.chain.label, &self.key.text, &self.key.label)
    }

    /// The authorities; an error if there are none.
    pub fn roots(&self) -> Result<RootCertStore, TlsConfigError> {
        match &self.authorities {
            Some(authorities) => pem::authorities(&authorities.text, &authorities.label),
            None => Err(TlsConfigError("no authorities are configured to verify the peer".to_owned())),
        }
    }

    /// Whether every byte is the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same = |ours: &Pem, theirs: &Pem| ours.text == theirs.text;
        let authorities = match (&self.authorities, &other.authorities) {
            (Some(ours), Some(theirs)) => is_same(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        authorities && is_same(&self.chain, &other.chain) && is_same(&self.key, &other.key)
    }
}

impl KeySource {
    fn read(&self) -> Result<Pem, TlsConfigError> {
        match self {
            Self::File { path, variable } => {
                let text = pem::read_file(path).map_err(|e| TlsConfigError(format!("{variable}: {e}")))?;
                Ok(Pem { text, label: format!("{} ({variable})", path.display()) })
            }
            Self::Variable { text, variable } => {
                Ok(Pem { text: text.clone().into_bytes(), label: variable.clone() })
            }
        }
    }
}

/// The directory for renewed keys, and the file names in it.
#[derive(Debug, Clone)]
pub struct RenewedKeys {
    /// Has a subdirectory for each generation: `1`, `2` and so on. Any path component may be a symbolic link, as the kubelet
    /// creates them.
    pub directory: PathBuf,
    /// File names in a subdirectory.
    pub file_names: KeySet<&'static str>,
}

impl RenewedKeys {
    fn path(&self, generation: u8) -> PathBuf {
        self.directory.join(generation.to_string())
    }
}

/// All sources of a process's keys.
#[derive(Clone)]
pub struct KeySources {
    /// Generation 0.
    pub initial: KeySet<KeySource>,
    /// All later generations.
    pub renewed: Option<RenewedKeys>,
}

impl KeySources {
    /// The generations that exist, complete or not. Looks only for the names of generations, so the cost does not depend on
    /// what else is in the directory.
    pub fn available(&self) -> Vec<u8> {
        let mut available: Vec<u8> = match &self.renewed {
            Some(renewed) => {
                (1..=RENEWED_KEYS_LIMIT).filter(|number| renewed.path(*number).is_dir()).collect()
            }
            None => Vec::new(),
        };
        available.push(0);
        available
    }

    /// Reads one generation.
    pub fn read(&self, generation: u8) -> Result<KeySet<Pem>, TlsConfigError> {
        match &self.renewed {
            Some(renewed) if generation > 0 => {
                let directory = renewed.path(generation);
                renewed.file_names.try_map(|name| {
                    let path = directory.join(name);
                    Ok(Pem { text: pem::read_file(&path)?, label: path.display().to_string() })
                })
            }
            _ => self.initial.try_map(KeySource::read),
        }
    }

    /// The name of a generation in messages.
    pub fn describe(&self, generation: u8) -> String {
        match &self.renewed {
            Some(renewed) if generation > 0 => {
                format!("generation {generation} of the keys in {}", renewed.directory.display())
            }
            _ => "the initial keys, which have changed".to_owned(),
        }
    }

    /// What an operator can do when the certificate has expired; the end of a message.
    pub fn remedy(&self) -> String {
        match (&self.renewed, &self.initial.chain) {
            (Some(renewed), _) => format!(
                "{} ({RENEWED_KEYS_VARIABLE}) has no usable newer keys; check why the controller did not renew them",
                renewed.directory.display()
            ),
            (None, KeySource::File { path, variable }) => {
                format!("write a new certificate to {} ({variable}), which is re-read", path.display())
            }
            (None, KeySource::Variable { variable, .. }) => format!(
                "restart with a new certificate in {variable}, or set {RENEWED_KEYS_VARIABLE} to a directory for renewed keys"
            ),
        }
    }

    /// Whether there is a directory for renewed keys.
    pub fn can_renew(&self) -> bool {
        self.renewed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn variable(name: &str) -> KeySource {
        KeySource::Variable { text: name.to_owned(), variable: name.to_owned() }
    }

    fn sources(directory: &Path) -> KeySources {
        let initial =
            KeySet { chain: variable("CERT"), key: variable("KEY"), authorities: Some(variable("CA")) };
        let file_names = KeySet { chain: "tls.crt", key: "tls.key", authorities: Some("ca.crt") };
        KeySources { initial, renewed: Some(RenewedKeys { directory: directory.to_owned(), file_names }) }
    }

    #[test]
    fn only_directories_named_like_a_generation_are_available() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["1", "8", "9", "0", "02", "+3", "..data", "four"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        std::fs::write(directory.path().join("5"), "").unwrap();
        std::os::unix::fs::symlink("..data", directory.path().join("6")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("7")).unwrap();
        assert_eq!(sources(directory.path()).available(), [1, 6, 8, 0]);
    }

    #[test]
    fn without_the_directory_only_the_initial_keys_are_available() {
        let sources = sources(Path::new("/nowhere"));
        assert_eq!(sources.available(), [0]);
        assert_eq!(sources.read(0).ok().map(|set| set.key.text), Some(b"KEY".to_vec()));
    }

    #[test]
    fn the_error_names_the_missing_file_of_a_generation() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("1")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            std::fs::write(directory.path().join("1").join(name), "").unwrap();
        }
        let error = sources(directory.path()).read(1).err().unwrap();
        assert!(error.0.contains("1/ca.crt: No such file"), "{error}");
    }
}
