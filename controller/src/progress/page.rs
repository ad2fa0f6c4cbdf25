//! Reads the metrics page of a source.

use std::time::Duration;

use decant_shared::protocol::cdi::{OLD_PROGRESS_METRIC, OWNER_LABEL, PROGRESS_METRIC};
use decant_shared::protocol::limit_order::{
    LIMIT_METRIC, LIMIT_WAIT_METRIC, LIMITED_BYTES_METRIC, SEQUENCE_METRIC,
};
use decant_shared::protocol::progress::Phase;
use decant_shared::protocol::prometheus::{Sample, parse};
use decant_shared::protocol::units::Rate;

/// The progress of a clone, as its source reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceReading {
    /// 0 to 100.
    pub percent: f64,
    /// Logical bytes that are durable at the target, or sent bytes if that is unknown. CDI's cloner does not report
    /// them.
    pub sent_bytes: Option<u64>,
    /// Logical bytes of the whole volume. CDI's cloner does not report them.
    pub total_bytes: Option<u64>,
    /// The phase of the transfer. CDI's cloner does not report it.
    pub phase: Option<Phase>,
    /// The bandwidth limit. CDI's cloner and older versions do not report it.
    pub limit: Option<LimitReading>,
}

/// The bandwidth limit of a clone, as its source reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReading {
    /// The limit in force; `None` if there is none.
    pub limit: Option<Rate>,
    /// The number of the last order that the source followed.
    pub sequence: u64,
    /// Bytes that count against the limit.
    pub limited_bytes: u64,
    /// For how long the limit held the data back.
    pub waited: Duration,
}

/// Finds the reading of `owner_uid` on a page. The error describes what is wrong with the page.
pub fn reading(page: &str, owner_uid: &str) -> Result<SourceReading, String> {
    let samples = parse(page).map_err(|e| format!("line {} of the page: {}", e.line, e.what))?;
    let is_ours = |sample: &&Sample<'_>| {
        [PROGRESS_METRIC, OLD_PROGRESS_METRIC].contains(&sample.name)
            && sample.label(OWNER_LABEL) == Some(owner_uid)
    };
    let percent = samples.iter().find(is_ours).ok_or("the page has no progress of this clone")?.value;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("the page has an invalid progress: {percent} %"));
    }
    let count = |name: &str| {
        let value = samples.iter().find(|sample| sample.name == name)?.value;
        // Exact up to 2^53, which is eight petabytes.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (0.0..9e15).contains(&value).then_some(value as u64)
    };
    let seconds = |name: &str| {
        let value = samples.iter().find(|sample| sample.name == name).map_or(0.0, |sample| sample.value);
        Duration::try_from_secs_f64(value).unwrap_or_default()
    };
    let limit = count(LIMIT_METRIC).map(|limit| LimitReading {
        limit: (limit > 0).then_some(Rate(limit)),
        sequence: count(SEQUENCE_METRIC).unwrap_or_default(),
        limited_bytes: count(LIMITED_BYTES_METRIC).unwrap_or_default(),
        waited: seconds(LIMIT_WAIT_METRIC),
    });
    Ok(SourceReading {
        percent,
        sent_bytes: count("decant_durable_bytes").or_else(|| count("decant_sent_bytes_total")),
        total_bytes: count("decant_stream_size_bytes"),
        phase: samples.iter().find_map(phase),
        limit,
    })
}

fn phase(sample: &Sample<'_>) -> Option<Phase> {
    let name = sample.label("phase").filter(|_| sample.name == "decant_phase" && sample.value == 1.0)?;
    phase_named(name)
}

/// The phase with this name.
pub(crate) fn phase_named(name: &str) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_names_are_understood() {
        for name in [PROGRESS_METRIC, OLD_PROGRESS_METRIC] {
            let page = format!("# HELP {name} {name}{{ownerUID=\"u\"}} 99\n{name}{{ownerUID=\"u\"}} 12.34\n");
            assert_eq!(reading(&page, "u").unwrap().percent, 12.34);
        }
    }

    #[test]
    fn bytes_come_along_where_the_source_tells_them() {
        let page = format!(
            "{PROGRESS_METRIC}{{ownerUID=\"u\"}} 50\ndecant_sent_bytes_total 5\ndecant_stream_size_bytes 10\n"
        );
        let reading = reading(&page, "u").unwrap();
        assert_eq!((reading.sent_bytes, reading.total_bytes), (Some(5), Some(10)));
        let page =
            page + "decant_durable_bytes 3\ndecant_phase{phase=\"copy\"} 0\ndecant_phase{phase=\"sync\"} 1\n";
        let reading = super::reading(&page, "u").unwrap();
        assert_eq!((reading.sent_bytes, reading.phase), (Some(3), Some(Phase::Sync)));
    }

    #[test]
    fn the_limit_is_read_from_a_source_that_reports_it() {
        let page = format!(
            "{PROGRESS_METRIC}{{ownerUID=\"u\"}} 50\n{LIMIT_METRIC} 5000\n{SEQUENCE_METRIC} 1700000000000\n\
             {LIMITED_BYTES_METRIC} 70\n{LIMIT_WAIT_METRIC} 1.5\n"
        );
        let limit = LimitReading {
            limit: Some(Rate(5000)),
            sequence: 1_700_000_000_000,
            limited_bytes: 70,
            waited: Duration::from_millis(1500),
        };
        assert_eq!(reading(&page, "u").unwrap().limit, Some(limit));
        let page = page.replace(" 5000\n", " 0\n");
        assert_eq!(reading(&page, "u").unwrap().limit, Some(LimitReading { limit: None, ..limit }));
        let page = format!("{PROGRESS_METRIC}{{ownerUID=\"u\"}} 50\n");
        assert_eq!(reading(&page, "u").unwrap().limit, None);
    }

    #[test]
    fn someone_elses_uid_garbage_and_impossible_values_are_no_news() {
        let line = |uid: &str, value: &str| format!("{PROGRESS_METRIC}{{ownerUID=\"{uid}\"}} {value}\n");
        for page in [
            line("other", "50"),
            line("u.", "50"),
            line("u", "NaN"),
            line("u", "-1"),
            line("u", "100.1"),
            line("u", "+Inf"),
            "<html>".to_owned(),
            String::new(),
        ] {
            assert!(reading(&page, "u").is_err(), "{page}");
        }
        assert_eq!(reading(&line("u", "6.1e-06"), "u").unwrap().percent, 6.1e-06);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(page in ".{0,200}") {
            let _ = reading(&page, "u");
        }
    }
}
