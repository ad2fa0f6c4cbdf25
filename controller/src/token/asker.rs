//! The user who requested a clone: from the API server's request to the webhook, stored in the token, and checked again
//! later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Enough for some hundred groups with long names. Both tokens of a DataVolume stay far below the 256 KiB limit of its
/// annotations.
const ASKER_MAX_BYTES: usize = 16 << 10;

/// A user or service account, with all attributes that an authorizer may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The user name.
    pub username: String,
    /// The identifier from the authenticator; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further attributes from the authenticator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Asker {
    /// Whether the user fits into a token. The error names the size.
    pub fn fits(&self) -> Result<(), String> {
        let len = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        if len <= ASKER_MAX_BYTES {
            return Ok(());
        }
        Err(format!(
            "groups and other attributes of user {} take {len} bytes, more than the {ASKER_MAX_BYTES} that a token \
             can hold: clone as a user with fewer groups",
            self.username
        ))
    }

    /// The spec of a SubjectAccessReview for this user and `attributes`.
    pub(crate) fn review_spec(&self, attributes: &Value) -> Value {
        json!({
            "user": self.username, "uid": self.uid, "groups": self.groups, "extra": self.extra,
            "resourceAttributes": attributes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_user_is_limited() {
        let with = |count| Asker {
            username: "jane".to_owned(),
            groups: (0..count).map(|n| format!("oidc:department-{n:04}")).collect(),
            ..Asker::default()
        };
        assert_eq!(with(600).fits(), Ok(()));
        let why = with(900).fits().unwrap_err();
        assert!(why.starts_with("groups and other attributes of user jane take"), "{why}");
    }
}
