//! Attributes that could not be kept: for each kind a count, and the first entry that lost it.

use std::fmt;

use crate::attributes::name::shown;
use crate::attributes::{Attribute, Kinds};

/// Names are cut to this many characters: a termination message must have space for one name of each kind.
const NAME_CHARACTERS: usize = 80;

/// How many entries lost one kind of attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The number of entries.
    pub entries: u64,
    /// The name of the first such entry, quoted and cut.
    pub first: String,
}

/// The losses of all kinds. Its size does not depend on their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotKept([Option<Lost>; Attribute::ALL.len()]);

impl NotKept {
    /// Counts `kinds` as lost for the entry `name`.
    pub fn add(&mut self, kinds: Kinds, name: impl FnOnce() -> Vec<u8>) {
        if kinds.is_empty() {
            return;
        }
        let mut name = Some(name);
        let mut first: Option<String> = None;
        for kind in Attribute::ALL.into_iter().filter(|&kind| kinds.has(kind)) {
            match &mut self.0[kind as usize] {
                Some(lost) => lost.entries += 1,
                none => {
                    let shown =
                        first.get_or_insert_with(|| short(&name.take().map_or(Vec::new(), |name| name())));
                    *none = Some(Lost { entries: 1, first: shown.clone() });
                }
            }
        }
    }

    /// How many entries lost this kind.
    pub fn count(&self, kind: Attribute) -> u64 {
        self.0[kind as usize].as_ref().map_or(0, |lost| lost.entries)
    }

    /// Whether everything was kept.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The kinds with at least one loss.
    pub fn iter(&self) -> impl Iterator<Item = (Attribute, &Lost)> {
        Attribute::ALL.into_iter().filter_map(|kind| Some((kind, self.0[kind as usize].as_ref()?)))
    }

    /// For programs: the count and the first entry of each kind.
    pub fn to_json(&self) -> serde_json::Value {
        let kinds = self.iter().map(|(kind, lost)| {
            (kind.word().to_owned(), serde_json::json!({ "entries": lost.entries, "first": lost.first }))
        });
        serde_json::Value::Object(kinds.collect())
    }
}

/// For people, on one line.
impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, Lost { entries, first })) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            match entries {
                1 => write!(f, "{separator}{kind} of {first}")?,
                _ => write!(f, "{separator}{kind} of {entries} entries (the first is {first})")?,
            }
        }
        Ok(())
    }
}

fn short(name: &[u8]) -> String {
    let name = shown(name);
    match name.char_indices().nth(NAME_CHARACTERS) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(of: &[Attribute]) -> Kinds {
        let mut kinds = Kinds::default();
        of.iter().for_each(|&kind| kinds.insert(kind));
        kinds
    }

    #[test]
    fn each_kind_has_its_count_and_its_first_entry() {
        let mut lost = NotKept::default();
        lost.add(Kinds::default(), || panic!("the name is not needed"));
        assert!(lost.is_empty());
        lost.add(kinds(&[Attribute::Owner]), || b"a\n".to_vec());
        lost.add(kinds(&[Attribute::Owner, Attribute::Xattr]), || b"b".to_vec());
        let line = r#"owners of 2 entries (the first is "a\n"), extended attributes of "b""#;
        assert_eq!(lost.to_string(), line);
        let json = r#"{"owners":{"entries":2,"first":"\"a\\n\""},"xattrs":{"entries":1,"first":"\"b\""}}"#;
        assert_eq!(lost.to_json().to_string(), json);
        assert_eq!((lost.count(Attribute::Owner), lost.count(Attribute::Acl)), (2, 0));
    }

    #[test]
    fn the_worst_names_fit_into_a_termination_message() {
        let mut lost = NotKept::default();
        for kind in Attribute::ALL {
            lost.add(kinds(&[kind]), || vec![1; 5000]);
        }
        assert!(lost.to_json().to_string().len() < 2000);
    }
}
