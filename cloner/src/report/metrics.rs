//! The metrics page of a source (docs/protocol.md section 1.12).

use std::sync::{Arc, Mutex, PoisonError};

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Service};
use decant_shared::protocol::cdi::{OLD_PROGRESS_METRIC, OWNER_LABEL, PROGRESS_METRIC};
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::prometheus::{self, MetricKind, MetricsPage, NameError};

/// Serves `/metrics` and `/healthz` to anyone.
///
/// The page changes only with a tick of the progress (once a second) and at the end of the clone. CDI's controller
/// writes the number into a status that it watches: a number that changed with each scrape would make it scrape without
/// a pause.
pub struct Metrics {
    progress: Arc<Progress>,
    owner_uid: String,
    /// The page, and the tick for which it was rendered.
    rendered: Mutex<Option<(u64, String)>>,
}

impl Metrics {
    /// Serves the metrics of `progress`. `owner_uid` is the UID of the clone's owner, the only label of CDI's metric.
    pub fn new(progress: Arc<Progress>, owner_uid: String) -> Self {
        Self { progress, owner_uid, rendered: Mutex::default() }
    }

    fn page(&self) -> Result<String, NameError> {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = self.progress.ticks();
        if let Some((_, page)) = rendered.as_ref().filter(|(of_tick, _)| *of_tick == tick) {
            return Ok(page.clone());
        }
        let page = page(&self.progress, &self.owner_uid)?;
        *rendered = Some((tick, page.clone()));
        Ok(page)
    }
}

impl Service for Metrics {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let known = matches!(exchange.request.path.as_str(), "/metrics" | "/healthz");
        let readable = matches!(exchange.request.method.as_str(), "GET" | "HEAD");
        match exchange.request.path.as_str() {
            "/metrics" if readable => match self.page() {
                Ok(page) => exchange.answer(200, prometheus::CONTENT_TYPE, &page),
                Err(e) => exchange.answer(500, "text/plain", &format!("{e:?}")),
            },
            "/healthz" if readable => exchange.answer(200, "text/plain", "OK"),
            _ if known => exchange.answer(405, "text/plain", "GET only"),
            _ => exchange.answer(404, "text/plain", "see /metrics and /healthz"),
        }
    }
}

/// The page: CDI's metric under its new and its old name, then Decant's own series. CDI's metric appears when it is
/// known whether the clone starts or resumes. The percentage is that of the last tick.
pub fn page(progress: &Progress, owner_uid: &str) -> Result<String, NameError> {
    let owner = [(OWNER_LABEL, owner_uid)];
    let mut page = MetricsPage::new();
    // Until then there is no sample: a controller that finds none keeps the value of a previous process of this source.
    if let Some(percent) = progress.known_percent() {
        page.family(PROGRESS_METRIC, "The clone progress in percentage", MetricKind::Counter)?
            .sample(&owner, percent)?;
        // The old name does not end in _total, so its type must not be counter.
        page.family(
            OLD_PROGRESS_METRIC,
            "The clone progress in percentage, under its name before CDI 1.60",
            MetricKind::Gauge,
        )?
        .sample(&owner, percent)?;
    }
    for (name, help, value) in [
        ("decant_read_bytes_total", "Logical bytes read from the source.", progress.read_bytes()),
        ("decant_sent_bytes_total", "Logical bytes sent to the target.", progress.sent_bytes()),
        ("decant_wire_bytes_total", "Compressed bytes sent.", progress.wire_bytes()),
        (
            "decant_packed_bytes_total",
            "Logical bytes that were sent compressed, zeros and holes included.",
            progress.packed_bytes(),
        ),
    ] {
        page.family(name, help, MetricKind::Counter)?.sample(&[], value)?;
    }
    if let Some(total_bytes) = progress.total_bytes() {
        page.family("decant_stream_size_bytes", "Logical bytes of the whole stream.", MetricKind::Gauge)?
            .sample(&[], total_bytes)?;
    }
    if let Some(durable_bytes) = progress.durable_bytes() {
        page.family(
            "decant_durable_bytes",
            "Logical bytes that are on the target's disk.",
            MetricKind::Gauge,
        )?
        .sample(&[], durable_bytes)?;
    }
    let mut phases =
        page.family("decant_phase", "1 for the current phase of the clone.", MetricKind::Gauge)?;
    for phase in Phase::ALL {
        phases.sample(&[("phase", phase.name())], u64::from(phase == progress.phase()))?;
    }
    page.family(
        "decant_start_time_seconds",
        "When the clone started, in seconds since 1970.",
        MetricKind::Gauge,
    )?
    .sample(&[], progress.start_unix_seconds())?;
    Ok(page.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_shared::protocol::prometheus::find;

    #[test]
    fn both_names_show_zero_as_soon_as_the_clone_starts() {
        let progress = Progress::new(0);
        let text = page(&progress, "uid-1").unwrap();
        assert!(!text.contains("clone_progress") && text.contains("decant_phase"), "{text}");
        progress.set_kept_bytes(0);
        let text = page(&progress, "uid-1").unwrap();
        for name in [PROGRESS_METRIC, OLD_PROGRESS_METRIC] {
            assert!(text.contains(&format!("\n{name}{{ownerUID=\"uid-1\"}} 0.00\n")), "{text}");
        }
    }

    #[test]
    fn a_hundred_percent_needs_the_targets_answer() {
        let progress = Progress::new(0);
        progress.set_total_bytes(10);
        progress.set_kept_bytes(0);
        progress.add_sent_bytes(10);
        progress.tick();
        let percent =
            |progress: &Progress| find(&page(progress, "u").unwrap(), &[PROGRESS_METRIC], OWNER_LABEL, "u");
        assert_eq!(percent(&progress), Some(99.99));
        progress.finish_ok();
        assert_eq!(percent(&progress), Some(100.0));
    }

    #[test]
    fn the_page_changes_only_with_a_tick_and_at_the_end() {
        let progress = Arc::new(Progress::new(0));
        progress.set_total_bytes(1000);
        progress.set_kept_bytes(0);
        let metrics = Metrics::new(Arc::clone(&progress), "u".to_owned());
        let mut pages = Vec::new();
        for scrape in 0..300 {
            progress.add_sent_bytes(1);
            if scrape % 100 == 99 {
                progress.tick();
            }
            pages.push(metrics.page().unwrap());
        }
        pages.dedup();
        assert_eq!(pages.len(), 4, "{pages:#?}");
        progress.finish_ok();
        let percent = find(&metrics.page().unwrap(), &[PROGRESS_METRIC], OWNER_LABEL, "u");
        assert_eq!(percent, Some(100.0), "it needs no tick");
    }
}
