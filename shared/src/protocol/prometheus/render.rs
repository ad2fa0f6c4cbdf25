//! Writing a page.

use std::fmt;

use super::{Value, in_label_name, in_metric_name, is_name};

/// A page under construction. It holds valid text at any time: what is refused leaves no trace.
#[derive(Debug, Clone, Default)]
pub struct Page {
    text: String,
    names: Vec<String>,
}

/// One metric of a page, ready to take its samples.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, save for a restart of the process.
    Counter,
    /// They go up and down.
    Gauge,
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// Not a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    Metric(String),
    /// Not a label name: `[a-zA-Z_][a-zA-Z0-9_]*` without two underscores in front, which are reserved.
    Label(String),
    /// The page has a metric of this name already.
    MetricTwice(String),
    /// The sample has a label of this name already.
    LabelTwice(String),
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the metric `name`. Metrics stand on the page in the order of these calls.
    pub fn family<'a>(&'a mut self, name: &'a str, help: &str, kind: Kind) -> Result<Family<'a>, NameError> {
        if !is_name(name, in_metric_name) {
            return Err(NameError::Metric(name.to_owned()));
        }
        if self.names.iter().any(|taken| taken == name) {
            return Err(NameError::MetricTwice(name.to_owned()));
        }
        self.names.push(name.to_owned());
        let text = &mut self.text;
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        push_escaped(text, help, false);
        text.push_str("\n# TYPE ");
        text.push_str(name);
        text.push_str(match kind {
            Kind::Counter => " counter\n",
            Kind::Gauge => " gauge\n",
        });
        Ok(Family { text, name })
    }

    /// The page as text.
    pub fn render(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample. Two samples of one metric must differ in their labels; that is up to the caller.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> Result<(), NameError> {
        for (index, &(name, _)) in labels.iter().enumerate() {
            if !is_name(name, in_label_name) || name.starts_with("__") {
                return Err(NameError::Label(name.to_owned()));
            }
            if labels[..index].iter().any(|&(taken, _)| taken == name) {
                return Err(NameError::LabelTwice(name.to_owned()));
            }
        }
        self.text.push_str(self.name);
        self.push_labels(labels);
        self.text.push(' ');
        self.text.push_str(&value.into().to_string());
        self.text.push('\n');
        Ok(())
    }

    fn push_labels(&mut self, labels: &[(&str, &str)]) {
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }
}

/// Appends `raw` such that it stays on its line. A quotation mark is escaped inside quotes only: in a help
/// text the backslash would be shown.
fn push_escaped(text: &mut String, raw: &str, quoted: bool) {
    for c in raw.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            _ => text.push(c),
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Metric(name) => write!(f, "{name:?} is not a metric name"),
            NameError::Label(name) => write!(f, "{name:?} is not a label name"),
            NameError::MetricTwice(name) => write!(f, "the metric {name} is on the page already"),
            NameError::LabelTwice(name) => write!(f, "the label {name} is on the sample already"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::progress::Percent;

    #[test]
    fn the_progress_line_is_the_one_that_cdi_looks_for() {
        let mut page = Page::new();
        for name in ["kubevirt_cdi_clone_progress_total", "clone_progress"] {
            let mut family = page.family(name, "The clone progress in percentage", Kind::Counter).unwrap();
            family.sample(&[("ownerUID", "a-b")], Percent::from_hundredths(1234)).unwrap();
        }
        assert_eq!(
            page.render(),
            "# HELP kubevirt_cdi_clone_progress_total The clone progress in percentage\n\
             # TYPE kubevirt_cdi_clone_progress_total counter\n\
             kubevirt_cdi_clone_progress_total{ownerUID=\"a-b\"} 12.34\n\
             # HELP clone_progress The clone progress in percentage\n\
             # TYPE clone_progress counter\n\
             clone_progress{ownerUID=\"a-b\"} 12.34\n"
        );
    }

    #[test]
    fn help_and_label_values_stay_on_their_line() {
        let mut page = Page::new();
        let mut family = page.family("m", "a\\b\n\"c\"", Kind::Gauge).unwrap();
        family.sample(&[("x", "a\\b\n\"c\""), ("y", "")], 7).unwrap();
        family.sample(&[], 8).unwrap();
        assert_eq!(
            page.render(),
            "# HELP m a\\\\b\\n\"c\"\n# TYPE m gauge\nm{x=\"a\\\\b\\n\\\"c\\\"\",y=\"\"} 7\nm 8\n"
        );
    }

    #[test]
    fn a_bad_name_is_refused_and_leaves_no_trace() {
        let mut page = Page::new();
        for name in ["", "1a", "a-b", "a b", "é", "a\nb"] {
            assert_eq!(page.family(name, "", Kind::Gauge).unwrap_err(), NameError::Metric(name.to_owned()));
        }
        page.family("m", "", Kind::Gauge).unwrap();
        let before = page.clone().render();
        assert_eq!(page.family("m", "", Kind::Gauge).unwrap_err(), NameError::MetricTwice("m".to_owned()));

        let mut family = page.family("n", "", Kind::Gauge).unwrap();
        for name in ["", "1a", "a:b", "__name__"] {
            assert_eq!(family.sample(&[("ok", ""), (name, "")], 1), Err(NameError::Label(name.to_owned())));
        }
        assert_eq!(family.sample(&[("a", ""), ("a", "")], 1), Err(NameError::LabelTwice("a".to_owned())));
        assert_eq!(page.render(), before + "# HELP n \n# TYPE n gauge\n");
    }
}
