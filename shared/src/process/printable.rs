//! Escapes text from a peer or another user for a log line, a termination message or a condition.

use std::fmt::{self, Write};

/// Maximum length of an unauthenticated peer's text in messages: enough to recognise a request, too little to fill a disk
/// with log lines.
pub const PEER_TEXT_MAX_CHARS: usize = 200;

/// Whether `character` changes how the text around it is displayed: control characters (C0, DEL and C1), line and paragraph
/// separators, characters that reorder or hide text, and invisible letters (Hangul fillers).
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// Writes `text` with every character that [`is_unsafe`] escaped, as `\n` or `\u{9b}`.
pub fn write_escaped(out: &mut impl Write, text: &str) -> fmt::Result {
    let mut plain = text;
    while let Some(at) = plain.find(is_unsafe) {
        let (before, rest) = plain.split_at(at);
        out.write_str(before)?;
        let mut characters = rest.chars();
        if let Some(character) = characters.next() {
            write!(out, "{}", character.escape_default())?;
        }
        plain = characters.as_str();
    }
    out.write_str(plain)
}

/// `text` with every character that [`is_unsafe`] escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = write_escaped(&mut out, text);
    out
}

/// Displays a text escaped, and truncated with `...` to a maximum length.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_chars: usize,
}

impl<'a> Escaped<'a> {
    /// At most [`PEER_TEXT_MAX_CHARS`] characters of `text`.
    pub fn of_peer(text: &'a str) -> Self {
        Self { text, max_chars: PEER_TEXT_MAX_CHARS }
    }

    /// At most `max_chars` characters of `text`.
    pub fn truncated(text: &'a str, max_chars: usize) -> Self {
        Self { text, max_chars }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.char_indices().nth(self.max_chars) {
            Some((end, _)) => {
                write_escaped(f, &self.text[..end])?;
                f.write_str("...")
            }
            None => write_escaped(f, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_that_change_the_display_are_escaped() {
        let text = "a\u{1b}[2J\u{9b}31m\r\n\u{7f}\u{202e}b\u{2066}\u{200f}\u{2028}\u{feff}\u{200b}c";
        let wanted = r"a\u{1b}[2J\u{9b}31m\r\n\u{7f}\u{202e}b\u{2066}\u{200f}\u{2028}\u{feff}\u{200b}c";
        assert_eq!(escaped(text), wanted);
        assert_eq!(escaped("Käse, 数据, \"quoted\" \\ 'too'"), "Käse, 数据, \"quoted\" \\ 'too'");
    }

    #[test]
    fn invisible_letters_are_escaped() {
        let (text, wanted) = ("a\u{115f}\u{1160}\u{3164}\u{ffa0}b", r"a\u{115f}\u{1160}\u{3164}\u{ffa0}b");
        assert_eq!(escaped(text), wanted);
        assert_eq!(escaped("한글"), "한글");
    }

    #[test]
    fn a_long_text_is_truncated_by_characters_and_marked() {
        assert_eq!(
            Escaped::of_peer(&"ä".repeat(PEER_TEXT_MAX_CHARS)).to_string(),
            "ä".repeat(PEER_TEXT_MAX_CHARS)
        );
        let long = Escaped::of_peer(&"ä".repeat(15_000)).to_string();
        assert_eq!(long, format!("{}...", "ä".repeat(PEER_TEXT_MAX_CHARS)));
        assert_eq!(Escaped::truncated("abc", 2).to_string(), "ab...");
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_unsafe_character(text in any::<String>()) {
            prop_assert!(!escaped(&text).contains(is_unsafe));
        }
    }
}
