//! The environment as a value, so that tests can configure a command without changing the process environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use decant_shared::net::tls::key_sources::{KeySet, KeySource, RenewedKeys};
use decant_shared::protocol::cdi::RENEWED_KEYS_VARIABLE;

use crate::error::{Error, Result};

/// Environment variables. An empty value counts as not set, as in CDI.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process, without variables that are not UTF-8. The cloner reads no such variables.
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

    /// The value of `name`. Errors: `Kind::Usage` if it is not set; the message contains `purpose`.
    pub fn require(&self, name: &str, purpose: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            Error::usage(format!("the environment variable {name} is not set: it must hold {purpose}"))
        })
    }

    /// Whether `name` is set, possibly to an empty value.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The PEM file whose path `name` holds. Errors as for [`Environment::require`].
    pub fn require_pem_file(&self, name: &str, purpose: &str) -> Result<KeySource> {
        let path = self.require(name, &format!("the path of a PEM file with {purpose}"))?;
        Ok(KeySource::File { path: PathBuf::from(path), variable: name.to_owned() })
    }

    /// The PEM that `name` holds. Errors as for [`Environment::require`].
    pub fn require_pem(&self, name: &str, purpose: &str) -> Result<KeySource> {
        let text = self.require(name, &format!("{purpose} as PEM"))?;
        Ok(KeySource::Variable { text: text.to_owned(), variable: name.to_owned() })
    }

    /// The directory where renewed keys appear under `names`, if the environment sets one.
    pub fn renewed_keys(&self, names: KeySet<&'static str>) -> Option<RenewedKeys> {
        self.get(RENEWED_KEYS_VARIABLE)
            .map(|directory| RenewedKeys { directory: PathBuf::from(directory), file_names: names })
    }

    /// Whether Go's `strconv.ParseBool` accepts the value of `name` as true. Every other value is false
    /// (docs/protocol.md section 1.4).
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
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment::from([("CLIENT_KEY", "")]);
        let error = environment.require("CLIENT_KEY", "a PEM private key").unwrap_err();
        assert!(error.to_string().contains("CLIENT_KEY"), "{error}");
        assert!(environment.has("CLIENT_KEY"));
    }

    #[test]
    fn booleans_are_read_as_in_go() {
        let environment = Environment::from([("A", "T"), ("B", "yes"), ("C", "1")]);
        assert!(environment.is_true("A") && environment.is_true("C"));
        assert!(!environment.is_true("B") && !environment.is_true("D"));
    }
}
