//! Text from a peer or another user, made fit for a log line, a termination message or a condition.

use std::fmt::{self, Write};

/// Characters of a peer's text that are shown where anybody may be the peer: enough to recognise a request, too few to
/// fill a disk with log lines.
pub const PEER_CHARACTERS: usize = 200;

/// Whether `character` changes what a reader sees around it: controls (C0, DEL and C1), line and paragraph separators,
/// marks that reorder or hide text, and letters that nobody sees (fillers of Hangul).
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

/// Writes `text` with everything that [`is_unsafe`] escaped, as `\n` or `\u{9b}`.
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

/// `text` with everything that [`is_unsafe`] escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = write_escaped(&mut out, text);
    out
}

/// Text of a peer as messages show it: escaped, and cut after so many characters.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    characters: usize,
}

impl<'a> Shown<'a> {
    /// At most [`PEER_CHARACTERS`] of `text`.
    pub fn of_peer(text: &'a str) -> Self {
        Self { text, characters: PEER_CHARACTERS }
    }

    /// At most `characters` of `text`.
    pub fn first(text: &'a str, characters: usize) -> Self {
        Self { text, characters }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.char_indices().nth(self.characters) {
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
    fn what_a_terminal_or_an_eye_would_obey_is_escaped() {
        let text = "a\u{1b}[2J\u{9b}31m\r\n\u{7f}\u{202e}b\u{2066}\u{200f}\u{2028}\u{feff}\u{200b}c";
        let wanted = r"a\u{1b}[2J\u{9b}31m\r\n\u{7f}\u{202e}b\u{2066}\u{200f}\u{2028}\u{feff}\u{200b}c";
        assert_eq!(escaped(text), wanted);
        assert_eq!(escaped("Käse, 数据, \"quoted\" \\ 'too'"), "Käse, 数据, \"quoted\" \\ 'too'");
    }

    #[test]
    fn letters_that_cannot_be_seen_are_escaped() {
        let (text, wanted) = ("a\u{115f}\u{1160}\u{3164}\u{ffa0}b", r"a\u{115f}\u{1160}\u{3164}\u{ffa0}b");
        assert_eq!(escaped(text), wanted);
        assert_eq!(escaped("한글"), "한글");
    }

    #[test]
    fn text_of_a_peer_is_cut_by_characters_and_says_so() {
        assert_eq!(Shown::of_peer(&"ä".repeat(PEER_CHARACTERS)).to_string(), "ä".repeat(PEER_CHARACTERS));
        let long = Shown::of_peer(&"ä".repeat(15_000)).to_string();
        assert_eq!(long, format!("{}...", "ä".repeat(PEER_CHARACTERS)));
        assert_eq!(Shown::first("abc", 2).to_string(), "ab...");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_of_any_text(text in any::<String>()) {
            prop_assert!(!escaped(&text).contains(is_unsafe));
        }
    }
}
