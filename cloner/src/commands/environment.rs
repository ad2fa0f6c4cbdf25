//! The environment as a value, so that roles can be configured in tests without touching the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use decant_shared::net::tls::key_sources::{KeySet, KeySource, RenewedKeys};
use decant_shared::protocol::cdi::RENEWED_KEYS_VARIABLE;

use crate::error::{Error, Result};

/// Environment variables. One that is set to nothing counts as not set, as in CDI.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. What is not UTF-8 is left out: nothing of ours is.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of `name`, if it has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of `name`; its absence is a usage error that names it and says what it is for.
    pub fn require(&self, name: &str, purpose: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            Error::usage(format!("environment variable {name} is missing: it must hold {purpose}"))
        })
    }

    /// Whether `name` is set at all, also to nothing.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The PEM file that `name` names; its absence is a usage error that says what it is for.
    pub fn require_pem_file(&self, name: &str, purpose: &str) -> Result<KeySource> {
        let path = self.require(name, &format!("the path of a PEM file with {purpose}"))?;
        Ok(KeySource::File { path: PathBuf::from(path), variable: name.to_owned() })
    }

    /// The PEM that `name` holds; its absence is a usage error that says what it is for.
    pub fn require_pem(&self, name: &str, purpose: &str) -> Result<KeySource> {
        let text = self.require(name, &format!("{purpose} as PEM"))?;
        Ok(KeySource::Variable { text: text.to_owned(), variable: name.to_owned() })
    }

    /// The directory in which renewed keys appear, if there is to be one; they are called `names` there.
    pub fn renewed_keys(&self, names: KeySet<&'static str>) -> Option<RenewedKeys> {
        self.get(RENEWED_KEYS_VARIABLE)
            .map(|directory| RenewedKeys { directory: PathBuf::from(directory), file_names: names })
    }

    /// A truth value as Go's `strconv.ParseBool` reads it; everything else is false (contract 1.4).
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        let environment = Environment::from([("CLIENT_KEY", "")]);
        let error = environment.require("CLIENT_KEY", "a PEM private key").unwrap_err();
        assert!(error.to_string().contains("CLIENT_KEY"), "{error}");
        assert!(environment.has("CLIENT_KEY"));
    }

    #[test]
    fn truth_is_read_as_go_reads_it() {
        let environment = Environment::from([("A", "T"), ("B", "yes"), ("C", "1")]);
        assert!(environment.is_true("A") && environment.is_true("C"));
        assert!(!environment.is_true("B") && !environment.is_true("D"));
    }
}
