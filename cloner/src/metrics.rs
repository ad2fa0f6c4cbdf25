//! The source's metrics page and its server (contract 1.12).

use std::sync::Arc;

use decant_shared::conn::Fault;
use decant_shared::contract::{OLD_PROGRESS_METRIC, OWNER_LABEL, PROGRESS_METRIC};
use decant_shared::http::server::{Exchange, Service};
use decant_shared::progress::{Phase, Progress};
use decant_shared::prometheus::{self, Kind, NameError, Page};

/// Serves `/metrics` and `/healthz` to anyone.
pub struct Metrics {
    /// The counters to show.
    pub progress: Arc<Progress>,
    /// UID of what owns the clone; the only label of CDI's metric.
    pub owner_uid: String,
}

impl Service for Metrics {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault> {
        let known = matches!(exchange.request.path.as_str(), "/metrics" | "/healthz");
        let readable = matches!(exchange.request.method.as_str(), "GET" | "HEAD");
        match exchange.request.path.as_str() {
            "/metrics" if readable => match page(&self.progress, &self.owner_uid) {
                Ok(page) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Err(e) => exchange.answer(500, "text/plain", &format!("{e:?}")),
            },
            "/healthz" if readable => exchange.answer(200, "text/plain", "OK"),
            _ if known => exchange.answer(405, "text/plain", "GET only"),
            _ => exchange.answer(404, "text/plain", "see /metrics and /healthz"),
        }
    }
}

/// The page: CDI's metric under its new and its old name, then our own series.
pub fn page(progress: &Progress, owner_uid: &str) -> Result<String, NameError> {
    let owner = [(OWNER_LABEL, owner_uid)];
    let mut page = Page::new();
    // 100 % must be there as soon as the clone is done, whether or not the ticker came by.
    progress.tick();
    let percent = progress.percent();
    page.family(PROGRESS_METRIC, "The clone progress in percentage", Kind::Counter)?
        .sample(&owner, percent)?;
    // The old name does not end in _total and so must not be called a counter.
    page.family(
        OLD_PROGRESS_METRIC,
        "The clone progress in percentage, under its name before CDI 1.60",
        Kind::Gauge,
    )?
    .sample(&owner, percent)?;
    for (name, help, value) in [
        ("decant_read_bytes_total", "Logical bytes read from the source.", progress.read_bytes()),
        ("decant_sent_bytes_total", "Logical bytes handed to the target.", progress.sent_bytes()),
        ("decant_wire_bytes_total", "Compressed bytes sent.", progress.wire_bytes()),
        (
            "decant_packed_bytes_total",
            "Logical bytes that went compressed, zeros and holes included.",
            progress.packed_bytes(),
        ),
    ] {
        page.family(name, help, Kind::Counter)?.sample(&[], value)?;
    }
    if let Some(total_bytes) = progress.total_bytes() {
        page.family("decant_stream_size_bytes", "Logical bytes of the whole stream.", Kind::Gauge)?
            .sample(&[], total_bytes)?;
    }
    if let Some(durable_bytes) = progress.durable_bytes() {
        page.family("decant_durable_bytes", "Logical bytes that are on the target's disk.", Kind::Gauge)?
            .sample(&[], durable_bytes)?;
    }
    let mut phases = page.family("decant_phase", "1 for the phase that the clone is in.", Kind::Gauge)?;
    for phase in Phase::ALL {
        phases.sample(&[("phase", phase.name())], u64::from(phase == progress.phase()))?;
    }
    page.family("decant_start_time_seconds", "When the clone started, in seconds since 1970.", Kind::Gauge)?
        .sample(&[], progress.start_unix_seconds())?;
    Ok(page.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_shared::prometheus::find;

    #[test]
    fn both_names_are_there_from_the_start_with_zero() {
        let text = page(&Progress::new(0), "uid-1").unwrap();
        for name in [PROGRESS_METRIC, OLD_PROGRESS_METRIC] {
            assert!(text.contains(&format!("\n{name}{{ownerUID=\"uid-1\"}} 0.00\n")), "{text}");
        }
    }

    #[test]
    fn a_hundred_comes_only_with_the_targets_word() {
        let progress = Progress::new(0);
        progress.set_total_bytes(10);
        progress.add_sent_bytes(10);
        let percent =
            |progress: &Progress| find(&page(progress, "u").unwrap(), &[PROGRESS_METRIC], OWNER_LABEL, "u");
        assert_eq!(percent(&progress), Some(99.99));
        progress.finish_ok();
        assert_eq!(percent(&progress), Some(100.0));
    }
}
