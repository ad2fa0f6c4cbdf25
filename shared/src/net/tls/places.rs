//! Where an end finds its keys: what it was started with, and the directory in which renewed ones appear.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;

use super::{Identity, Unusable, pem};
use crate::protocol::cdi::{RENEWED_KEYS_LIMIT, RENEWED_KEYS_VARIABLE};

/// One thing for each part of a set of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet<T> {
    /// For the certificate, leaf first, and what leads from it to its authority.
    pub chain: T,
    /// For the leaf's private key.
    pub key: T,
    /// For the authorities that vouch for the other end, where that has to prove itself.
    pub authorities: Option<T>,
}

impl<T> KeySet<T> {
    fn try_map<U>(&self, mut read: impl FnMut(&T) -> Result<U, Unusable>) -> Result<KeySet<U>, Unusable> {
        Ok(KeySet {
            chain: read(&self.chain)?,
            key: read(&self.key)?,
            authorities: self.authorities.as_ref().map(read).transpose()?,
        })
    }
}

/// Where one part is.
#[derive(Clone)]
pub enum Place {
    /// In a file, which is read again.
    File {
        /// Its path.
        path: PathBuf,
        /// The variable that names it.
        variable: String,
    },
    /// In a variable, which stays as it is.
    Text {
        /// The PEM.
        text: String,
        /// The variable.
        variable: String,
    },
}

/// The text of one part, and what to call it in messages. It has no `Debug`: it may be a key.
#[derive(Clone)]
pub struct Pem {
    text: Vec<u8>,
    what: String,
}

impl Pem {
    /// What to call it in messages.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl KeySet<Pem> {
    /// The certificate and its key. Whether they belong together shows when a configuration is built from them.
    pub fn identity(&self) -> Result<Identity, Unusable> {
        pem::identity(&self.chain.text, &self.chain.what, &self.key.text, &self.key.what)
    }

    /// The authorities; it is an error to have none.
    pub fn roots(&self) -> Result<RootCertStore, Unusable> {
        match &self.authorities {
            Some(authorities) => pem::authorities(&authorities.text, &authorities.what),
            None => Err(Unusable("there are no authorities that vouch for the other end".to_owned())),
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

impl Place {
    fn read(&self) -> Result<Pem, Unusable> {
        match self {
            Self::File { path, variable } => {
                let text = pem::read_file(path).map_err(|e| Unusable(format!("{variable}: {e}")))?;
                Ok(Pem { text, what: format!("{} ({variable})", path.display()) })
            }
            Self::Text { text, variable } => {
                Ok(Pem { text: text.clone().into_bytes(), what: variable.clone() })
            }
        }
    }
}

/// The directory in which renewed keys appear, and what they are called in it.
#[derive(Debug, Clone)]
pub struct RenewedKeys {
    /// It has a subdirectory for each generation: `1`, `2` and so on. Any component may be a symbolic link, as the
    /// kubelet makes them.
    pub folder: PathBuf,
    /// File names in a subdirectory.
    pub names: KeySet<&'static str>,
}

/// All places of one end's keys.
#[derive(Clone)]
pub struct Places {
    /// Generation 0.
    pub first: KeySet<Place>,
    /// All further ones.
    pub renewed: Option<RenewedKeys>,
}

impl Places {
    /// The generations that are there, complete or not. Only the names of generations are looked for, so that it costs
    /// the same whatever else is in the directory.
    pub fn there(&self) -> Vec<u8> {
        let further = |renewed: &RenewedKeys| {
            let is_there = |generation: &u8| path_of(renewed, *generation).is_dir();
            (1..=RENEWED_KEYS_LIMIT).filter(is_there).collect()
        };
        let mut there: Vec<u8> = self.renewed.as_ref().map(further).unwrap_or_default();
        there.push(0);
        there
    }

    /// Reads one generation.
    pub fn read(&self, generation: u8) -> Result<KeySet<Pem>, Unusable> {
        match &self.renewed {
            Some(renewed) if generation > 0 => {
                let folder = path_of(renewed, generation);
                renewed.names.try_map(|name| {
                    let path = folder.join(name);
                    Ok(Pem { text: pem::read_file(&path)?, what: path.display().to_string() })
                })
            }
            _ => self.first.try_map(Place::read),
        }
    }

    /// What to call a generation in messages.
    pub fn name(&self, generation: u8) -> String {
        match &self.renewed {
            Some(renewed) if generation > 0 => {
                format!("generation {generation} of the keys in {}", renewed.folder.display())
            }
            _ => "what was written in place of the first keys".to_owned(),
        }
    }

    /// What has to happen when the certificate has ended.
    pub fn remedy(&self) -> String {
        match (&self.renewed, &self.first.chain) {
            (Some(renewed), _) => format!(
                "nothing newer can be used in {} ({RENEWED_KEYS_VARIABLE}): see why the controller writes none",
                renewed.folder.display()
            ),
            (None, Place::File { path, variable }) => {
                format!("write a new one to {} ({variable}): it is read again", path.display())
            }
            (None, Place::Text { variable, .. }) => format!(
                "start this end again with a new one in {variable}, or name a directory for renewed ones in {RENEWED_KEYS_VARIABLE}"
            ),
        }
    }

    /// Whether new keys can appear that the other end is to trust, too.
    pub fn is_renewed(&self) -> bool {
        self.renewed.is_some()
    }
}

fn path_of(renewed: &RenewedKeys, generation: u8) -> PathBuf {
    Path::new(&renewed.folder).join(generation.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(variable: &str) -> Place {
        Place::Text { text: variable.to_owned(), variable: variable.to_owned() }
    }

    fn places(folder: &Path) -> Places {
        let first = KeySet { chain: text("CERT"), key: text("KEY"), authorities: Some(text("CA")) };
        let names = KeySet { chain: "tls.crt", key: "tls.key", authorities: Some("ca.crt") };
        Places { first, renewed: Some(RenewedKeys { folder: folder.to_owned(), names }) }
    }

    #[test]
    fn only_directories_with_the_number_of_a_generation_are_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1", "8", "9", "0", "02", "+3", "..data", "four"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("5"), "").unwrap();
        std::os::unix::fs::symlink("..data", folder.path().join("6")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("7")).unwrap();
        assert_eq!(places(folder.path()).there(), [1, 6, 8, 0]);
    }

    #[test]
    fn without_the_directory_there_is_what_the_end_was_started_with() {
        let places = places(Path::new("/nowhere"));
        assert_eq!(places.there(), [0]);
        assert_eq!(places.read(0).ok().map(|set| set.key.text), Some(b"KEY".to_vec()));
    }

    #[test]
    fn a_generation_that_lacks_a_file_is_named_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            std::fs::write(folder.path().join("1").join(name), "").unwrap();
        }
        let error = places(folder.path()).read(1).err().unwrap();
        assert!(error.0.contains("1/ca.crt: No such file"), "{error}");
    }
}
