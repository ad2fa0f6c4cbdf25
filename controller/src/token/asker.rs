//! Who asked for a clone: as the API server told the webhook, kept in the token, and asked about again later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Some hundred groups with long names. Both tokens of a DataVolume together stay far below the 256 KiB that its
/// annotations may have.
const ASKER_MAX_BYTES: usize = 16 << 10;

/// A user, human or service account, with all that an authorizer may decide by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The name.
    pub username: String,
    /// The authenticator's identifier of the user; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else the authenticator said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Asker {
    /// Whether a token can hold it. The error says for people how long it is.
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

    /// The user's part of a SubjectAccessReview's spec, and in it what is asked about.
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
    fn as_many_groups_as_a_token_holds_fit_and_no_more() {
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
