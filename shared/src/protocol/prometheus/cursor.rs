//! The small steps in which a line of a page is read.

use std::borrow::Cow;

use super::{in_label_name, is_name};

/// Names and values of labels.
pub(super) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// How many labels a sample may have. Every name is compared with those before it, so a hostile line with
/// a hundred thousand of them would keep the reader busy for long.
const LABELS_MAX: usize = 64;

/// What is left of a line.
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `line`.
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Skips spaces and tabs; whether there were any.
    pub(super) fn blanks(&mut self) -> bool {
        !self.take_while(|c| matches!(c, ' ' | '\t')).is_empty()
    }

    /// What stands before the next space or tab; may be empty.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|c| !matches!(c, ' ' | '\t'))
    }

    /// Takes `wanted` if it comes next; whether it did.
    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let behind = self.rest.strip_prefix(wanted);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// A name of `allowed` characters.
    pub(super) fn name(&mut self, allowed: fn(char) -> bool) -> Option<&'a str> {
        Some(self.take_while(allowed)).filter(|name| is_name(name, allowed))
    }

    /// The labels behind an opening brace, up to and with the closing one. A comma may end the list.
    pub(super) fn labels(&mut self) -> Result<Labels<'a>, &'static str> {
        let mut labels = Labels::new();
        loop {
            self.blanks();
            if self.eat('}') {
                return Ok(labels);
            }
            if labels.len() == LABELS_MAX {
                return Err("there are too many labels");
            }
            let name = self.name(in_label_name).ok_or("a label name is expected")?;
            if labels.iter().any(|(taken, _)| *taken == name) {
                return Err("a label name comes twice");
            }
            self.blanks();
            if !self.eat('=') {
                return Err("an equals sign is expected behind a label name");
            }
            self.blanks();
            labels.push((name, self.quoted()?));
            self.blanks();
            if !self.eat(',') && !self.rest.starts_with('}') {
                return Err("a comma or a closing brace is expected behind a label value");
            }
        }
    }

    /// A label value between its quotation marks, with its escapes undone. Borrowed if there are none.
    fn quoted(&mut self) -> Result<Cow<'a, str>, &'static str> {
        if !self.eat('"') {
            return Err("a label value does not start with a quotation mark");
        }
        let mut value = Cow::Borrowed("");
        loop {
            value += self.take_while(|c| !matches!(c, '"' | '\\'));
            if self.eat('"') {
                return Ok(value);
            }
            if !self.eat('\\') {
                return Err("a label value does not end");
            }
            value += match self.rest.chars().next() {
                Some('\\') => "\\",
                Some('"') => "\"",
                Some('n') => "\n",
                _ => return Err("a label value has an unknown escape"),
            };
            // All three are one byte long.
            self.rest = &self.rest[1..];
        }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}
