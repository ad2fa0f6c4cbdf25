//! Derives JSON from a fuzzer's input, such that a small change of the input is a small change of an object.

use serde_json::{Map, Value, json};

/// Names of fields that the controller reads.
const NAMES: [&str; 44] = [
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "creationTimestamp",
    "source",
    "sourceRef",
    "pvc",
    "storage",
    "snapshot",
    "dataSource",
    "http",
    "resources",
    "requests",
    "accessModes",
    "volumeMode",
    "storageClassName",
    "kind",
    "contentType",
    "preallocation",
    "phase",
    "progress",
    "conditions",
    "restartCount",
    "capacity",
    "containers",
    "volumes",
    "containerStatuses",
    "state",
    "terminated",
    "message",
    "podIP",
    "data",
    "holderIdentity",
    "leaseDurationSeconds",
    "selector",
];

/// Strings that are valid in some field, and strings that nearly are.
const TEXTS: [&str; 32] = [
    "",
    "n",
    "copy",
    "golden",
    "n/golden",
    "a/golden",
    "n/",
    "/",
    "10Gi",
    "1e999999",
    "-0",
    "0",
    "18446744073709551615",
    "99999999999999999999Ei",
    "1m",
    "Block",
    "Filesystem",
    "ReadWriteOnce",
    "Bound",
    "Lost",
    "Pending",
    "Running",
    "Succeeded",
    "Failed",
    "DataSource",
    "true",
    "archive",
    "2026-01-01T12:00:00Z",
    "9999-12-31T23:59:59Z",
    "decant1:1:00",
    "\u{0}\u{202e}\u{9b}",
    "999999999999",
];

/// An endless source of bytes: the input, then zeros.
#[derive(Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn take(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        if count > 256 {
            return (usize::from(self.take()) << 8 | usize::from(self.take())) % count;
        }
        usize::from(self.take()) % count.max(1)
    }

    fn text(&mut self) -> String {
        match self.take() {
            0 => "x".repeat(20 << 10),
            1 => (0..self.below(20)).map(|_| char::from(self.take())).collect(),
            pick => TEXTS[usize::from(pick) % TEXTS.len()].to_owned(),
        }
    }

    fn name(&mut self) -> String {
        match self.take() {
            0 => self.text(),
            pick => NAMES[usize::from(pick) % NAMES.len()].to_owned(),
        }
    }

    fn number(&mut self) -> Value {
        match self.take() % 8 {
            0 => json!(0),
            1 => json!(-1),
            2 => json!(i64::MIN),
            3 => json!(i64::MAX),
            4 => json!(u64::MAX),
            5 => json!(-0.0),
            6 => json!(1e300),
            _ => json!(self.take()),
        }
    }

    /// Arbitrary JSON with at most `depth` nested levels.
    pub fn json(&mut self, depth: usize) -> Value {
        match self.take() % 8 {
            0 => Value::Null,
            1 => json!(self.take().is_multiple_of(2)),
            2 => self.number(),
            5 if depth > 0 => (0..self.below(5)).map(|_| self.json(depth - 1)).collect(),
            6 | 7 if depth > 0 => {
                let members = (0..self.below(5)).map(|_| (self.name(), self.json(depth - 1)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            _ => self.text().into(),
        }
    }

    /// Makes up to three changes in `value`.
    pub fn change(&mut self, value: &mut Value) {
        for _ in 0..self.take() % 4 {
            self.change_one(value);
        }
    }

    fn change_one(&mut self, value: &mut Value) {
        let replace_here = self.take().is_multiple_of(8);
        match value {
            Value::Object(members) if !replace_here && !members.is_empty() => {
                let name = members.keys().nth(self.below(members.len())).cloned().unwrap_or_default();
                match self.take() % 8 {
                    0 => {
                        members.remove(&name);
                    }
                    1 => {
                        let name = self.name();
                        members.insert(name, self.json(3));
                    }
                    _ => members.get_mut(&name).into_iter().for_each(|member| self.change_one(member)),
                }
            }
            Value::Array(items) if !replace_here && !items.is_empty() => {
                let at = self.below(items.len());
                self.change_one(&mut items[at]);
            }
            _ => *value = self.json(3),
        }
    }
}
