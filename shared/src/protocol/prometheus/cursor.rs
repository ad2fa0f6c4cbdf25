//! A cursor over one line of a metrics page.

use std::borrow::Cow;

use super::{in_label_name, is_name};

/// Names and values of labels.
pub(super) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Maximum number of labels of a sample. Every name is compared with all previous ones, so a hostile line with a hundred
/// thousand labels would take very long.
const LABELS_MAX: usize = 64;

/// The rest of a line.
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

    /// Skips spaces and tabs. Returns whether there were any.
    pub(super) fn skip_blanks(&mut self) -> bool {
        !self.take_while(|c| matches!(c, ' ' | '\t')).is_empty()
    }

    /// The text up to the next space or tab; may be empty.
    pub(super) fn token(&mut self) -> &'a str {
        self.take_while(|c| !matches!(c, ' ' | '\t'))
    }

    /// Takes `wanted` if it comes next. Returns whether it did.
    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// A name that consists of `allowed` characters.
    pub(super) fn name(&mut self, allowed: fn(char) -> bool) -> Option<&'a str> {
        Some(self.take_while(allowed)).filter(|name| is_name(name, allowed))
    }

    /// The labels after an opening brace, including the closing one. A trailing comma is allowed.
    pub(super) fn labels(&mut self) -> Result<Labels<'a>, &'static str> {
        let mut labels = Labels::new();
        loop {
            self.skip_blanks();
            if self.eat('}') {
                return Ok(labels);
            }
            if labels.len() == LABELS_MAX {
                return Err("too many labels");
            }
            let name = self.name(in_label_name).ok_or("expected a label name")?;
            if labels.iter().any(|(taken, _)| *taken == name) {
                return Err("duplicate label name");
            }
            self.skip_blanks();
            if !self.eat('=') {
                return Err("expected '=' after a label name");
            }
            self.skip_blanks();
            labels.push((name, self.quoted()?));
            self.skip_blanks();
            if !self.eat(',') && !self.rest.starts_with('}') {
                return Err("expected ',' or '}' after a label value");
            }
        }
    }

    /// A label value between quotation marks, unescaped. Borrowed if it has no escapes.
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
                return Err("unterminated label value");
            }
            value += match self.rest.chars().next() {
                Some('\\') => "\\",
                Some('"') => "\"",
                Some('n') => "\n",
                _ => return Err("unknown escape in a label value"),
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
