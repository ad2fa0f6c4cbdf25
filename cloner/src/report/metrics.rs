//! The metrics page of a source (docs/protocol.md section 1.12).

use std::sync::{Arc, Mutex, PoisonError};

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Service};
use decant_shared::protocol::cdi::{OLD_PROGRESS_METRIC, OWNER_LABEL, PROGRESS_METRIC};
use decant_shared::protocol::limit_order::{
    LIMIT_METRIC, LIMIT_WAIT_METRIC, LIMITED_BYTES_METRIC, SEQUENCE_METRIC,
};
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::prometheus::{self, MetricKind, MetricsPage, NameError};
use decant_shared::protocol::units::Rate;

use crate::report::limit_control::LimitControl;

/// Serves `/metrics` and `/healthz` to anyone. A poll of the controller may carry an order about the bandwidth limit, and
/// its answer shows the limit that is then in force.
///
/// The page changes only with a tick of the progress (once a second) and at the end of the clone. CDI's controller
/// writes the number into a status that it watches: a number that changed with each scrape would make it scrape without
/// a pause.
pub struct Metrics {
    progress: Arc<Progress>,
    control: LimitControl,
    owner_uid: String,
    /// The page, and the tick for which it was rendered.
    rendered: Mutex<Option<(u64, String)>>,
}

impl Metrics {
    /// Serves the metrics of `progress` and of the limit that `control` changes. `owner_uid` is the UID of the clone's
    /// owner, the only label of CDI's metric.
    pub fn new(progress: Arc<Progress>, control: LimitControl, owner_uid: String) -> Self {
        Self { progress, control, owner_uid, rendered: Mutex::default() }
    }

    /// The page for a request with this query.
    fn page(&self, query: &str) -> Result<String, NameError> {
        let is_changed = self.control.follow(query);
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = self.progress.ticks();
        if let Some((_, page)) = rendered.as_ref().filter(|(of_tick, _)| *of_tick == tick && !is_changed) {
            return Ok(page.clone());
        }
        let page = page(&self.progress, &self.control, &self.owner_uid)?;
        *rendered = Some((tick, page.clone()));
        Ok(page)
    }
}

impl Service for Metrics {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let known = matches!(exchange.request.path.as_str(), "/metrics" | "/healthz");
        let readable = matches!(exchange.request.method.as_str(), "GET" | "HEAD");
        match exchange.request.path.as_str() {
            "/metrics" if readable => match self.page(&exchange.request.query) {
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
pub fn page(progress: &Progress, control: &LimitControl, owner_uid: &str) -> Result<String, NameError> {
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
    limits(&mut page, control)?;
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

/// The limit in force, and how it acts.
fn limits(page: &mut MetricsPage, control: &LimitControl) -> Result<(), NameError> {
    let limiter = control.limiter();
    let help = "The bandwidth limit in force; 0 if there is none.";
    let limit = control.limit().map_or(0, |Rate(bytes_per_sec)| bytes_per_sec);
    page.family(LIMIT_METRIC, help, MetricKind::Gauge)?.sample(&[], limit)?;
    let help = "The number of the controller's last order about the limit; 0 if there was none.";
    page.family(SEQUENCE_METRIC, help, MetricKind::Gauge)?.sample(&[], control.sequence())?;
    let help = "Bytes that count against the limit.";
    page.family(LIMITED_BYTES_METRIC, help, MetricKind::Counter)?.sample(&[], limiter.passed_bytes())?;
    let help = "For how long the limit held the data back.";
    page.family(LIMIT_WAIT_METRIC, help, MetricKind::Counter)?.sample(&[], limiter.waited()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rate_limiter::RateLimiter;
    use crate::report::limit_control::OrderAddress;
    use decant_shared::protocol::limit_order::{LimitOrder, LimitSigner};
    use decant_shared::protocol::prometheus::find;

    fn unlimited() -> LimitControl {
        LimitControl::new(Arc::new(RateLimiter::new(None)), None)
    }

    #[test]
    fn the_answer_to_an_order_shows_the_new_limit() {
        let signer = LimitSigner::from_seed(&[1; 32]).unwrap();
        let address = OrderAddress { key: signer.public_key().parse().unwrap(), pod_uid: "p".to_owned() };
        let control = LimitControl::new(Arc::new(RateLimiter::new(Some(Rate(5000)))), Some(address));
        let metrics = Metrics::new(Arc::new(Progress::new(0)), control, "u".to_owned());
        assert!(metrics.page("").unwrap().contains(&format!("\n{LIMIT_METRIC} 5000\n")));
        let order = LimitOrder { sequence: 9, limit: Some(Rate(70_000)) }.query("p", &signer);
        let page = metrics.page(&order).unwrap();
        for line in [format!("\n{LIMIT_METRIC} 70000\n"), format!("\n{SEQUENCE_METRIC} 9\n")] {
            assert!(page.contains(&line), "{page}");
        }
    }

    #[test]
    fn both_names_show_zero_as_soon_as_the_clone_starts() {
        let progress = Progress::new(0);
        let text = page(&progress, &unlimited(), "uid-1").unwrap();
        assert!(!text.contains("clone_progress") && text.contains("decant_phase"), "{text}");
        progress.set_kept_bytes(0);
        let text = page(&progress, &unlimited(), "uid-1").unwrap();
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
        let percent = |progress: &Progress| {
            find(&page(progress, &unlimited(), "u").unwrap(), &[PROGRESS_METRIC], OWNER_LABEL, "u")
        };
        assert_eq!(percent(&progress), Some(99.99));
        progress.finish_ok();
        assert_eq!(percent(&progress), Some(100.0));
    }

    #[test]
    fn the_page_changes_only_with_a_tick_and_at_the_end() {
        let progress = Arc::new(Progress::new(0));
        progress.set_total_bytes(1000);
        progress.set_kept_bytes(0);
        let metrics = Metrics::new(Arc::clone(&progress), unlimited(), "u".to_owned());
        let mut pages = Vec::new();
        for scrape in 0..300 {
            progress.add_sent_bytes(1);
            if scrape % 100 == 99 {
                progress.tick();
            }
            pages.push(metrics.page("").unwrap());
        }
        pages.dedup();
        assert_eq!(pages.len(), 4, "{pages:#?}");
        progress.finish_ok();
        let percent = find(&metrics.page("").unwrap(), &[PROGRESS_METRIC], OWNER_LABEL, "u");
        assert_eq!(percent, Some(100.0), "it needs no tick");
    }
}
