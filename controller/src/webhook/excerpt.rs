//! What others wrote, in our log and in our answers.

/// Enough to recognize it by.
const EXCERPT_MAX_CHARS: usize = 200;

/// The beginning of `text`, on one line: control characters, and those that change the direction of writing or cannot be
/// seen, are escaped.
pub(super) fn excerpt(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == EXCERPT_MAX_CHARS {
            out.push_str("...");
            break;
        }
        if c.is_control() || is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks of direction, joiners and separators of lines (Unicode 15, general categories Cf, Zl, Zp, as far as they can
/// make a line look like another one).
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_wrote_is_short_and_stays_on_its_line() {
        assert_eq!(excerpt("a\nb\u{9b}31m\u{202e}c"), "a\\u{a}b\\u{9b}31m\\u{202e}c");
        assert_eq!(excerpt(&"é".repeat(201)), format!("{}...", "é".repeat(200)));
        assert_eq!(excerpt(&"é".repeat(200)), "é".repeat(200));
    }
}
