//! Quotes of untrusted text in the log and in responses.

/// Enough to recognize the text.
const EXCERPT_MAX_CHARS: usize = 200;

/// The start of `text` on one line: control characters, invisible characters and those that change the text direction
/// are escaped.
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

/// Direction marks, joiners and line separators (Unicode 15, general categories Cf, Zl, Zp), as far as they can
/// disguise text.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\nb\u{9b}31m\u{202e}c"), "a\\u{a}b\\u{9b}31m\\u{202e}c");
        assert_eq!(excerpt(&"é".repeat(201)), format!("{}...", "é".repeat(200)));
        assert_eq!(excerpt(&"é".repeat(200)), "é".repeat(200));
    }
}
