//! A Secret.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::objects::meta::Meta;

/// What is read of a Secret. Only the controller's own Secrets are read.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Metadata.
    pub metadata: Meta,
    /// Entries, in base64.
    pub data: BTreeMap<String, String>,
}

impl Secret {
    /// The bytes of an entry. The error names the entry, never its content.
    pub fn entry(&self, name: &str) -> Result<Vec<u8>, String> {
        let encoded = self.data.get(name).ok_or_else(|| format!("{name} is missing"))?;
        STANDARD.decode(encoded).map_err(|_| format!("{name} is no base64"))
    }

    /// An entry that is text.
    pub fn text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.entry(name)?).map_err(|_| format!("{name} is no text"))
    }
}

/// Omits the secret content.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret {}", self.metadata.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::decode;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_named_and_not_repeated() {
        let object =
            json!({ "metadata": { "name": "s" }, "data": { "a": "QQ==", "b": "secret!", "c": "/w==" } });
        let secret: Secret = decode(object).unwrap();
        assert_eq!(secret.text("a").as_deref(), Ok("A"));
        assert_eq!(secret.text("b").unwrap_err(), "b is no base64");
        assert_eq!(secret.text("c").unwrap_err(), "c is no text");
        assert_eq!(secret.text("d").unwrap_err(), "d is missing");
        assert!(!format!("{secret:?}").contains("QQ"));
    }
}
