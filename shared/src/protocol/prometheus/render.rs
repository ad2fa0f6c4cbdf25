//! Renders a page.

use std::fmt;

use super::{SampleValue, in_label_name, in_metric_name, is_name};

/// A page under construction. Its text is valid at any time: a refused name adds nothing.
#[derive(Debug, Clone, Default)]
pub struct MetricsPage {
    text: String,
    names: Vec<String>,
}

/// One metric of a page, to which samples can be added.
#[derive(Debug)]
pub struct MetricFamily<'a> {
    text: &'a mut String,
    name: &'a str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Its value only increases, except after a restart of the process.
    Counter,
    /// Its value increases and decreases.
    Gauge,
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// Not a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    Metric(String),
    /// Not a label name: `[a-zA-Z_][a-zA-Z0-9_]*`, except that two leading underscores are reserved.
    Label(String),
    /// The page already has a metric with this name.
    DuplicateMetric(String),
    /// The sample already has a label with this name.
    DuplicateLabel(String),
}

impl MetricsPage {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the metric `name`. Metrics appear on the page in the order of these calls.
    pub fn family<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        kind: MetricKind,
    ) -> Result<MetricFamily<'a>, NameError> {
        if !is_name(name, in_metric_name) {
            return Err(NameError::Metric(name.to_owned()));
        }
        if self.names.iter().any(|taken| taken == name) {
            return Err(NameError::DuplicateMetric(name.to_owned()));
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
            MetricKind::Counter => " counter\n",
            MetricKind::Gauge => " gauge\n",
        });
        Ok(MetricFamily { text, name })
    }

    /// The page as text.
    pub fn render(self) -> String {
        self.text
    }
}

impl MetricFamily<'_> {
    /// Adds a sample. The caller ensures that two samples of one metric differ in their labels.
    pub fn sample(
        &mut self,
        labels: &[(&str, &str)],
        value: impl Into<SampleValue>,
    ) -> Result<(), NameError> {
        for (index, &(name, _)) in labels.iter().enumerate() {
            if !is_name(name, in_label_name) || name.starts_with("__") {
                return Err(NameError::Label(name.to_owned()));
            }
            if labels[..index].iter().any(|&(taken, _)| taken == name) {
                return Err(NameError::DuplicateLabel(name.to_owned()));
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

/// Appends `raw` escaped, such that it does not break the line. Quotation marks are escaped only inside quotes: in a help
/// text the backslash would be visible.
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
            NameError::Metric(name) => write!(f, "invalid metric name {name:?}"),
            NameError::Label(name) => write!(f, "invalid label name {name:?}"),
            NameError::DuplicateMetric(name) => write!(f, "duplicate metric {name}"),
            NameError::DuplicateLabel(name) => write!(f, "duplicate label {name}"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::progress::Percent;

    #[test]
    fn the_progress_line_matches_what_cdi_reads() {
        let mut page = MetricsPage::new();
        for name in ["kubevirt_cdi_clone_progress_total", "clone_progress"] {
            let mut family =
                page.family(name, "The clone progress in percentage", MetricKind::Counter).unwrap();
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
    fn help_and_label_values_are_escaped_to_one_line() {
        let mut page = MetricsPage::new();
        let mut family = page.family("m", "a\\b\n\"c\"", MetricKind::Gauge).unwrap();
        family.sample(&[("x", "a\\b\n\"c\""), ("y", "")], 7).unwrap();
        family.sample(&[], 8).unwrap();
        assert_eq!(
            page.render(),
            "# HELP m a\\\\b\\n\"c\"\n# TYPE m gauge\nm{x=\"a\\\\b\\n\\\"c\\\"\",y=\"\"} 7\nm 8\n"
        );
    }

    #[test]
    fn an_invalid_name_is_refused_and_adds_nothing_to_the_page() {
        let mut page = MetricsPage::new();
        for name in ["", "1a", "a-b", "a b", "é", "a\nb"] {
            assert_eq!(
                page.family(name, "", MetricKind::Gauge).unwrap_err(),
                NameError::Metric(name.to_owned())
            );
        }
        page.family("m", "", MetricKind::Gauge).unwrap();
        let previous = page.clone().render();
        assert_eq!(
            page.family("m", "", MetricKind::Gauge).unwrap_err(),
            NameError::DuplicateMetric("m".to_owned())
        );

        let mut family = page.family("n", "", MetricKind::Gauge).unwrap();
        for name in ["", "1a", "a:b", "__name__"] {
            assert_eq!(family.sample(&[("ok", ""), (name, "")], 1), Err(NameError::Label(name.to_owned())));
        }
        assert_eq!(family.sample(&[("a", ""), ("a", "")], 1), Err(NameError::DuplicateLabel("a".to_owned())));
        assert_eq!(page.render(), previous + "# HELP n \n# TYPE n gauge\n");
    }
}
