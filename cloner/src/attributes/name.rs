//! Entry names in messages.

/// `name` for a message: in quotes, on one line, of limited length.
pub fn shown(name: &[u8]) -> String {
    /// A longer name is cut: the message may become a termination message of at most 4,096 bytes.
    const SHOWN_BYTES: usize = 300;
    match name.get(..SHOWN_BYTES) {
        Some(head) if name.len() > SHOWN_BYTES => format!("{:?}...", String::from_utf8_lossy(head)),
        _ => format!("{:?}", String::from_utf8_lossy(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_shared::process::printable::is_unsafe;

    #[test]
    fn names_are_shown_without_control_characters() {
        let name = "a\u{1b}[31m\u{9b}\u{202e}\u{2066}\u{200f}\u{feff}\n";
        let shown = shown(name.as_bytes());
        assert!(!shown.contains(is_unsafe), "{shown:?}");
        assert!(shown.contains("u{202e}") && shown.contains("u{1b}"), "{shown}");
    }
}
