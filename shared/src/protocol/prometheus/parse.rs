//! Parses an untrusted page line by line. No page can make the parser panic, and its work is linear in the page's length.

use std::borrow::Cow;
use std::fmt;

use super::cursor::Cursor;
use super::in_metric_name;

/// One sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The metric.
    pub name: &'a str,
    /// Names and values of the labels in the order of the page; names are unique.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value: any number, including infinity and not-a-number.
    pub value: f64,
    /// When the sample was taken, in milliseconds since 1970, if the page has it.
    pub timestamp_ms: Option<i64>,
}

/// A line that does not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// The line number, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// All samples of a page. Comments are skipped; the first malformed line is an error.
pub fn parse(text: &str) -> Result<Vec<Sample<'_>>, ParseError> {
    samples(text).collect()
}

/// The value of the first sample whose name is one of `names` and whose label `label` has exactly the value `label_value`.
/// Malformed lines are skipped: one malformed metric must not hide all others.
///
/// The value is not checked and may be any number, including infinity and not-a-number.
pub fn find(text: &str, names: &[&str], label: &str, label_value: &str) -> Option<f64> {
    samples(text)
        .filter_map(Result::ok)
        .find(|sample| names.contains(&sample.name) && sample.label(label) == Some(label_value))
        .map(|sample| sample.value)
}

impl Sample<'_> {
    /// The value of the label `name`.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_ref())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

fn samples(text: &str) -> impl Iterator<Item = Result<Sample<'_>, ParseError>> {
    // Not `lines()`: in this format a carriage return is part of the line.
    text.split_inclusive('\n').enumerate().filter_map(|(index, line)| {
        read_line(line).map_err(|what| ParseError { line: index + 1, what }).transpose()
    })
}

/// The sample of a line; `None` for comments and empty lines.
fn read_line(line: &str) -> Result<Option<Sample<'_>>, &'static str> {
    // A cut page may end in a plausible but wrong number.
    let line = line.strip_suffix('\n').ok_or("missing line feed at the end: the page may be cut")?;
    let mut cursor = Cursor::new(line);
    cursor.skip_blanks();
    if cursor.is_at_end() || cursor.eat('#') {
        return Ok(None);
    }
    let name = cursor.name(in_metric_name).ok_or("expected a metric name")?;
    let mut has_space = cursor.skip_blanks();
    let mut labels = Vec::new();
    if cursor.eat('{') {
        labels = cursor.labels()?;
        has_space = cursor.skip_blanks();
    }
    if !has_space {
        return Err("expected a space before the value");
    }
    let value = number(cursor.token()).ok_or("the value is not a number")?;
    cursor.skip_blanks();
    let timestamp_ms = match cursor.token() {
        "" => None,
        token => Some(token.parse().map_err(|_| "the timestamp is not a whole number")?),
    };
    cursor.skip_blanks();
    if !cursor.is_at_end() {
        return Err("unexpected text after the timestamp");
    }
    Ok(Some(Sample { name, labels, value, timestamp_ms }))
}

/// A sample value. Rust parses more spellings of infinity than the format has, so the special values are matched first.
fn number(token: &str) -> Option<f64> {
    match token {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if token.bytes().all(|byte| b"0123456789+-.eE".contains(&byte)) => {
            token.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bad(line: &str) -> &'static str {
        let error = parse(&format!("ok 1\n{line}\nok 2\n")).unwrap_err();
        assert_eq!(error.line, 2, "{line:?}");
        error.what
    }

    #[test]
    fn a_line_has_a_name_and_labels_and_a_value_and_optionally_a_time() {
        let page =
            "# HELP a b\n\n \t# odd\n\ta { x = \"1\" , y=\"\\\\ \\\" \\n {},\", } \t-1.5e3 -42 \nb 2\n";
        let found = parse(page).unwrap();
        let labels = vec![("x", "1".into()), ("y", "\\ \" \n {},".into())];
        assert_eq!(found[0], Sample { name: "a", labels, value: -1500.0, timestamp_ms: Some(-42) });
        assert_eq!(found[1], Sample { name: "b", labels: Vec::new(), value: 2.0, timestamp_ms: None });
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn special_values_have_one_spelling() {
        let value = |text: &str| parse(&format!("a {text}\n")).map(|found| found[0].value);
        assert!(value("NaN").is_ok_and(f64::is_nan));
        assert_eq!(value("+Inf"), Ok(f64::INFINITY));
        assert_eq!(value("-Inf"), Ok(f64::NEG_INFINITY));
        assert_eq!(value("6.103515625e-06"), Ok(0.000_006_103_515_625));
        for text in ["nan", "infinity", "inf", "1e999", "0x1p3", "1_0", "1,5", "--1", "e5", "."] {
            assert!(value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_with_its_line_number() {
        assert_eq!(bad("a 1 2 3"), "unexpected text after the timestamp");
        assert_eq!(bad("a 1 2.5"), "the timestamp is not a whole number");
        assert_eq!(bad("a 1\r"), "the value is not a number");
        assert_eq!(bad("a"), "expected a space before the value");
        assert_eq!(bad("a "), "the value is not a number");
        assert_eq!(bad("a{}1"), "expected a space before the value");
        assert_eq!(bad("a+1"), "expected a space before the value");
        assert_eq!(bad("1a 1"), "expected a metric name");
        assert_eq!(bad("{x=\"1\"} 1"), "expected a metric name");
    }

    #[test]
    fn malformed_labels_are_an_error_with_their_line_number() {
        assert_eq!(bad("a{,} 1"), "expected a label name");
        assert_eq!(bad("a{x:y=\"\"} 1"), "expected '=' after a label name");
        assert_eq!(bad("a{x=1} 1"), "a label value does not start with a quotation mark");
        assert_eq!(bad("a{x=\"1} 1"), "unterminated label value");
        assert_eq!(bad("a{x=\"\\"), "unknown escape in a label value");
        assert_eq!(bad("a{x=\"\\é\"} 1"), "unknown escape in a label value");
        assert_eq!(bad("a{x=\"1\" y=\"2\"} 1"), "expected ',' or '}' after a label value");
        assert_eq!(bad("a{x=\"1\",x=\"1\"} 1"), "duplicate label name");
        let many: String = (0..1000).map(|index| format!("x{index}=\"\",")).collect();
        assert_eq!(bad(&format!("a{{{many}}} 1")), "too many labels");
    }

    #[test]
    fn a_cut_page_does_not_yield_a_wrong_number() {
        let whole = "a 1\nprogress{uid=\"u\"} 12.34\n";
        assert_eq!(find(whole, &["progress"], "uid", "u"), Some(12.34));
        for end in 0..whole.len() {
            assert_eq!(find(&whole[..end], &["progress"], "uid", "u"), None, "{end}");
        }
        assert_eq!(parse(&whole[..whole.len() - 1]).map_err(|error| error.line), Err(2));
    }

    #[test]
    fn only_a_valid_sample_with_exactly_this_label_is_found() {
        let page = "# HELP p p{uid=\"u\"} 1\nbroken{\nq{uid=\"u\"} 2\np{uid=\"uu\"} 3\np{my_uid=\"u\"} 4\n\
                    p{x=\"p{uid=\\\"u\\\"} 5\"} 5\np{uid=\"U\"} 6\nr{a=\"\",uid=\"u\"} 7\np{uid=\"u\"} 8\n";
        assert_eq!(find(page, &["p"], "uid", "u"), Some(8.0));
        assert_eq!(find(page, &["p", "r"], "uid", "u"), Some(7.0));
        assert_eq!(find(page, &["s"], "uid", "u"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(
            text: String,
            near in "(a|b1|#|)[ \t{]{0,2}([a-z]=\"[^\"]{0,3}(\"|\\\\.)[,} é]{0,2}){0,3}[ 0-9+.eInf-]{0,9}\n?",
        ) {
            for text in [text, near] {
                let _ = parse(&text);
                let _ = find(&text, &["a"], "a", "");
            }
        }
    }
}
