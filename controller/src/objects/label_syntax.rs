//! The syntax of labels, annotations and names, as the API server checks it.

/// The longest value of a label, and the longest name in a key.
const LABEL_MAX_BYTES: usize = 63;
/// The longest prefix of a key.
const PREFIX_MAX_BYTES: usize = 253;

/// Checks the key of a label or annotation: `name` or `domain/name`.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label_text(name) {
        return Ok(());
    }
    Err(format!("{key:?} is not a key such as name or example.com/name"))
}

/// Checks the value of a label.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a label's value: at most {LABEL_MAX_BYTES} letters, digits, '-', '_' and '.', with a letter or digit at \
         both ends"
    ))
}

fn is_label_text(text: &str) -> bool {
    let is_end = |c: Option<u8>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let is_inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    text.len() <= LABEL_MAX_BYTES
        && text.bytes().all(is_inner)
        && is_end(text.bytes().next())
        && is_end(text.bytes().next_back())
}

/// Whether `text` can be the name of a namespace.
pub fn is_dns_label(text: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=LABEL_MAX_BYTES).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` can be the name of a node or a domain.
pub fn is_dns_name(text: &str) -> bool {
    // Only the whole has a limit.
    text.len() <= PREFIX_MAX_BYTES
        && text.split('.').all(|part| {
            let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-')
        })
}

/// Whether the key `name` belongs to one of `domains`: `domain/x`, `sub.domain/x`, or the bare `domain` (CDI has such a
/// label).
pub fn is_within(name: &str, domains: &[&str]) -> bool {
    let domain = name.split_once('/').map_or(name, |(domain, _)| domain);
    domains
        .iter()
        .any(|known| domain.strip_suffix(known).is_some_and(|sub| sub.is_empty() || sub.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_that_the_api_server_accepts() {
        for key in ["zone", "topology.kubernetes.io/zone", "A.b_c-1", "x/y"] {
            assert_eq!(check_label_key(key), Ok(()), "{key}");
        }
        for key in ["", "/x", "x/", "a/b/c", "-a", "Example.com/x", "a b", &"x".repeat(64)] {
            assert!(check_label_key(key).is_err(), "{key}");
        }
        for value in ["", "a", "1", "A.b_c-1", &"x".repeat(63)] {
            assert_eq!(check_label_value(value), Ok(()), "{value}");
        }
        for value in ["-a", "a.", "a b", "a/b", "é", &"x".repeat(64)] {
            assert!(check_label_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn names_are_those_that_the_api_server_accepts() {
        assert!(is_dns_label("kube-system") && is_dns_name("node-1.example.com"));
        for name in ["", "A", "a.", ".a", "-a", "a_b"] {
            assert!(!is_dns_label(name) && !is_dns_name(name), "{name}");
        }
        assert!(!is_dns_label("a.b") && !is_dns_label(&"a".repeat(64)));
    }
}
