//! Reading a page, line by line, without trust: nothing a page holds can make the reader panic, and the
//! work is linear in its length.

use std::borrow::Cow;
use std::fmt;

use super::cursor::Cursor;
use super::in_metric_name;

/// One sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The metric.
    pub name: &'a str,
    /// Names and values of the labels, in the order of the page; no name comes twice.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value: any number, infinite and not-a-number among them.
    pub value: f64,
    /// When it was taken, in milliseconds since 1970, if the page says so.
    pub timestamp_ms: Option<i64>,
}

/// A line that is not part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// All samples of a page. Comments are skipped; the first bad line is an error.
pub fn parse(text: &str) -> Result<Vec<Sample<'_>>, ParseError> {
    samples(text).collect()
}

/// The value of the first sample whose name is one of `names` and whose label `label` has exactly the value
/// `label_value`. Lines that do not parse are passed over: one odd metric must not hide all others.
///
/// The value is the page's word and may be any number, infinite and not-a-number among them.
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
    // Not `lines()`: a carriage return may be the last byte of what this format calls a line.
    text.split_inclusive('\n').enumerate().filter_map(|(index, line)| {
        read_line(line).map_err(|what| ParseError { line: index + 1, what }).transpose()
    })
}

/// The sample of a line; `None` for comments and empty lines.
fn read_line(line: &str) -> Result<Option<Sample<'_>>, &'static str> {
    // A page that was cut shows a plausible but wrong number in its last line.
    let line = line.strip_suffix('\n').ok_or("the line feed at its end is missing; was the page cut?")?;
    let mut cursor = Cursor::new(line);
    cursor.blanks();
    if cursor.is_at_end() || cursor.eat('#') {
        return Ok(None);
    }
    let name = cursor.name(in_metric_name).ok_or("it does not start with a metric name")?;
    let mut spaced = cursor.blanks();
    let mut labels = Vec::new();
    if cursor.eat('{') {
        labels = cursor.labels()?;
        spaced = cursor.blanks();
    }
    if !spaced {
        return Err("no space before the value");
    }
    let value = number(cursor.word()).ok_or("the value is not a number")?;
    cursor.blanks();
    let timestamp_ms = match cursor.word() {
        "" => None,
        word => Some(word.parse().map_err(|_| "the timestamp is not a whole number")?),
    };
    cursor.blanks();
    if !cursor.is_at_end() {
        return Err("something is left over behind the timestamp");
    }
    Ok(Some(Sample { name, labels, value, timestamp_ms }))
}

/// A sample value. Rust reads more spellings of infinity than the format has, so those are picked first.
fn number(word: &str) -> Option<f64> {
    match word {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if word.bytes().all(|byte| b"0123456789+-.eE".contains(&byte)) => {
            word.parse().ok().filter(|value: &f64| value.is_finite())
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
    fn a_line_has_a_name_labels_a_value_and_maybe_a_time() {
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
        let value = |word: &str| parse(&format!("a {word}\n")).map(|found| found[0].value);
        assert!(value("NaN").is_ok_and(f64::is_nan));
        assert_eq!(value("+Inf"), Ok(f64::INFINITY));
        assert_eq!(value("-Inf"), Ok(f64::NEG_INFINITY));
        assert_eq!(value("6.103515625e-06"), Ok(0.000_006_103_515_625));
        for word in ["nan", "infinity", "inf", "1e999", "0x1p3", "1_0", "1,5", "--1", "e5", "."] {
            assert!(value(word).is_err(), "{word}");
        }
    }

    #[test]
    fn anything_left_over_is_an_error_of_its_line() {
        assert_eq!(bad("a 1 2 3"), "something is left over behind the timestamp");
        assert_eq!(bad("a 1 2.5"), "the timestamp is not a whole number");
        assert_eq!(bad("a 1\r"), "the value is not a number");
        assert_eq!(bad("a"), "no space before the value");
        assert_eq!(bad("a "), "the value is not a number");
        assert_eq!(bad("a{}1"), "no space before the value");
        assert_eq!(bad("a+1"), "no space before the value");
        assert_eq!(bad("1a 1"), "it does not start with a metric name");
        assert_eq!(bad("{x=\"1\"} 1"), "it does not start with a metric name");
    }

    #[test]
    fn broken_labels_are_an_error_of_their_line() {
        assert_eq!(bad("a{,} 1"), "a label name is expected");
        assert_eq!(bad("a{x:y=\"\"} 1"), "an equals sign is expected behind a label name");
        assert_eq!(bad("a{x=1} 1"), "a label value does not start with a quotation mark");
        assert_eq!(bad("a{x=\"1} 1"), "a label value does not end");
        assert_eq!(bad("a{x=\"\\"), "a label value has an unknown escape");
        assert_eq!(bad("a{x=\"\\é\"} 1"), "a label value has an unknown escape");
        assert_eq!(
            bad("a{x=\"1\" y=\"2\"} 1"),
            "a comma or a closing brace is expected behind a label value"
        );
        assert_eq!(bad("a{x=\"1\",x=\"1\"} 1"), "a label name comes twice");
        let many: String = (0..1000).map(|index| format!("x{index}=\"\",")).collect();
        assert_eq!(bad(&format!("a{{{many}}} 1")), "there are too many labels");
    }

    #[test]
    fn a_cut_page_does_not_give_a_wrong_number() {
        let whole = "a 1\nprogress{uid=\"u\"} 12.34\n";
        assert_eq!(find(whole, &["progress"], "uid", "u"), Some(12.34));
        for end in 0..whole.len() {
            assert_eq!(find(&whole[..end], &["progress"], "uid", "u"), None, "{end}");
        }
        assert_eq!(parse(&whole[..whole.len() - 1]).map_err(|error| error.line), Err(2));
    }

    #[test]
    fn only_a_real_sample_with_exactly_this_label_is_found() {
        let page = "# HELP p p{uid=\"u\"} 1\nbroken{\nq{uid=\"u\"} 2\np{uid=\"uu\"} 3\np{my_uid=\"u\"} 4\n\
                    p{x=\"p{uid=\\\"u\\\"} 5\"} 5\np{uid=\"U\"} 6\nr{a=\"\",uid=\"u\"} 7\np{uid=\"u\"} 8\n";
        assert_eq!(find(page, &["p"], "uid", "u"), Some(8.0));
        assert_eq!(find(page, &["p", "r"], "uid", "u"), Some(7.0));
        assert_eq!(find(page, &["s"], "uid", "u"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(
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
