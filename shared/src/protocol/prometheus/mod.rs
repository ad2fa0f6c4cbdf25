//! The Prometheus text exposition format 0.0.4: what a clone publishes and what its controller scrapes.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. What the
//! controllers of CDI look for in it stands in contract 1.12.

mod cursor;
mod parse;
mod render;
mod value;

pub use parse::{ParseError, Sample, find, parse};
pub use render::{Family, Kind, NameError, Page};
pub use value::Value;

/// The `Content-Type` of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How much of a page a scraper reads at most. A page comes from a pod that nobody vouches for, so it may
/// be of any length (contract 8, #17). The parser notices if the page was cut here.
pub const PAGE_MAX_BYTES: usize = 1 << 20;

/// Whether `c` may stand in the name of a metric, the first place aside.
fn in_metric_name(c: char) -> bool {
    in_label_name(c) || c == ':'
}

/// Whether `c` may stand in the name of a label, the first place aside.
fn in_label_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether all of `name` is of `allowed`, with something other than a digit first.
fn is_name(name: &str, allowed: fn(char) -> bool) -> bool {
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    type Labels = std::collections::BTreeMap<String, String>;

    fn labels() -> impl Strategy<Value = Labels> {
        // Names with two leading underscores are reserved, so one letter comes first.
        btree_map("[a-zA-Z][a-zA-Z0-9_]{0,8}", any::<String>(), 0..4)
    }

    fn value() -> impl Strategy<Value = super::Value> {
        (any::<u64>(), 0..12_u8).prop_map(|(amount, decimals)| super::Value::fixed(amount, decimals))
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_what_is_parsed(
            families in btree_map(
                "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
                (any::<String>(), vec((labels(), value()), 0..4)),
                0..4,
            )
        ) {
            let mut page = Page::new();
            for (name, (help, samples)) in &families {
                let mut family = page.family(name, help, Kind::Gauge).unwrap();
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
                    let found: Labels =
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
        fn a_sample_is_found_by_any_label_value_and_only_by_that(uid: String, other: String, amount: u32) {
            let mut page = Page::new();
            let mut family = page.family("progress", &uid, Kind::Counter).unwrap();
            family.sample(&[("ownerUID", &uid)], u64::from(amount)).unwrap();
            let text = page.render();
            prop_assert_eq!(find(&text, &["progress"], "ownerUID", &uid), Some(f64::from(amount)));
            prop_assume!(uid != other);
            prop_assert_eq!(find(&text, &["progress"], "ownerUID", &other), None);
        }
    }
}
