//! The Prometheus text exposition format 0.0.4, which clones publish and their controller scrapes.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. What CDI's controllers read
//! from it: docs/protocol.md section 1.12.

mod cursor;
mod parse;
mod render;
mod value;

pub use parse::{ParseError, Sample, find, parse};
pub use render::{MetricFamily, MetricKind, MetricsPage, NameError};
pub use value::SampleValue;

/// The `Content-Type` of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How much of a page a scraper reads at most. The page comes from an untrusted pod and may be of any length
/// (docs/migrate-from-cdi.md row 17). The parser detects a page that was cut here.
pub const PAGE_MAX_BYTES: usize = 1 << 20;

/// Whether `c` may occur in a metric name, except as its first character.
fn in_metric_name(c: char) -> bool {
    in_label_name(c) || c == ':'
}

/// Whether `c` may occur in a label name, except as its first character.
fn in_label_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether `name` consists of `allowed` characters and does not start with a digit.
fn is_name(name: &str, allowed: fn(char) -> bool) -> bool {
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    type LabelMap = std::collections::BTreeMap<String, String>;

    fn labels() -> impl Strategy<Value = LabelMap> {
        // Names with two leading underscores are reserved, so one letter comes first.
        btree_map("[a-zA-Z][a-zA-Z0-9_]{0,8}", any::<String>(), 0..4)
    }

    fn value() -> impl Strategy<Value = SampleValue> {
        (any::<u64>(), 0..12_u8).prop_map(|(amount, decimals)| SampleValue::fixed(amount, decimals))
    }

    proptest! {
        #[test]
        fn a_rendered_page_parses_to_the_same_samples(
            families in btree_map(
                "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
                (any::<String>(), vec((labels(), value()), 0..4)),
                0..4,
            )
        ) {
            let mut page = MetricsPage::new();
            for (name, (help, samples)) in &families {
                let mut family = page.family(name, help, MetricKind::Gauge).unwrap();
                for (labels, value) in samples {
                    let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                    family.sample(&labels, *value).unwrap();
                }
            }
            let text = page.render();
            let mut parsed = parse(&text).unwrap().into_iter();
            for (name, (_, samples)) in &families {
                for (labels, value) in samples {
                    let sample = parsed.next().unwrap();
                    let found: LabelMap =
                        sample.labels.iter().map(|(n, v)| ((*n).to_owned(), v.to_string())).collect();
                    prop_assert_eq!(sample.name, name);
                    prop_assert_eq!(&found, labels);
                    prop_assert_eq!(sample.value, value.to_string().parse::<f64>().unwrap());
                    prop_assert_eq!(sample.timestamp_ms, None);
                }
            }
            prop_assert_eq!(parsed.next(), None);
        }

        #[test]
        fn a_sample_is_found_only_by_its_own_label_value(uid: String, other: String, amount: u32) {
            let mut page = MetricsPage::new();
            let mut family = page.family("progress", &uid, MetricKind::Counter).unwrap();
            family.sample(&[("ownerUID", &uid)], u64::from(amount)).unwrap();
            let text = page.render();
            prop_assert_eq!(find(&text, &["progress"], "ownerUID", &uid), Some(f64::from(amount)));
            prop_assume!(uid != other);
            prop_assert_eq!(find(&text, &["progress"], "ownerUID", &other), None);
        }
    }
}
