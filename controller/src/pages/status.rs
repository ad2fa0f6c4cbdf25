//! `/status`: running clones and those that ended last, for a browser. Plain HTML that reloads itself, without scripts;
//! all text from the cluster is escaped.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::pages::health::HealthState;
use crate::pages::populated;
use crate::summary::clone_summary::{CloneState, CloneSummary};
use crate::summary::pick::{Picked, pick_with_claims};

/// Open clones on the page; the others are counted.
const OPEN_MAX: usize = 100;
/// Ended clones on the page.
const RECENT_MAX: usize = 20;
/// Seconds until the page reloads itself.
const REFRESH_SECS: u32 = 5;
/// The longest name on the page; longer ones are cut.
const NAME_CHARS: usize = 120;
/// The longest message on the page; longer ones are cut.
const TEXT_CHARS: usize = 300;
/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";
/// Both colour schemes, and a table that becomes a list on narrow screens.
const STYLE: &str = include_str!("status.css");

/// The content of the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overview {
    /// `None` on a standby replica, which does not watch clones.
    pub clones: Option<Picked>,
    /// The current time; RFC 3339.
    pub now: String,
}

/// The current page.
pub(super) fn page(health: &HealthState) -> String {
    let clones = health.reconciler().map(|reconciler| {
        let stores = &reconciler.observer.stores;
        let mut picked =
            pick_with_claims(&stores.data_volumes.all(), &stores.claims.all(), OPEN_MAX, RECENT_MAX);
        let fresh = |seen: CloneSummary| {
            let news = populated::reading(&reconciler, &seen.key());
            seen.with(news.as_ref())
        };
        picked.open = picked.open.into_iter().map(fresh).collect();
        picked
    });
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
    render(&Overview { clones, now })
}

/// The page for `overview`, with a limited number of rows.
pub fn render(overview: &Overview) -> String {
    let (title, body) = match &overview.clones {
        None => (
            "standby".to_owned(),
            "<p>This replica is a standby. The leader shows the clones.</p>\n".to_owned(),
        ),
        Some(picked) => (summary(picked), tables(picked)),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECS}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} - Decant</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Clones</h1>\n\
         <p class=\"summary\">{title}</p>\n{body}\
         <footer>Decant {version}, {now}. The page reloads every {REFRESH_SECS} s.</footer>\n</body>\n</html>\n",
        title = text(&title, TEXT_CHARS),
        version = env!("CARGO_PKG_VERSION"),
        now = text(&readable_time(&overview.now), NAME_CHARS),
    )
}

/// A summary in one line, also for the title of the window.
fn summary(picked: &Picked) -> String {
    let run = picked.open.iter().filter(|seen| seen.state == CloneState::Running).count();
    let wait = picked.open.len() - run + picked.more_open;
    format!("{run} running, {wait} waiting")
}

fn tables(picked: &Picked) -> String {
    let mut html = String::new();
    if picked.open.is_empty() {
        html.push_str("<p>No running or waiting clones.</p>\n");
    } else {
        table(&mut html, "Running and waiting", &picked.open);
    }
    if picked.more_open > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<p>... and {} more clones that are not shown.</p>", picked.more_open);
    }
    if !picked.recent.is_empty() {
        table(&mut html, "Ended last", &picked.recent);
    }
    html
}

fn table(html: &mut String, heading: &str, rows: &[CloneSummary]) {
    let _ = write!(
        html,
        "<table>\n<caption>{heading}</caption>\n<thead><tr><th scope=\"col\">Clone</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Progress</th><th scope=\"col\">Details</th></tr></thead>\n<tbody>\n"
    );
    rows.iter().for_each(|seen| row(html, seen));
    html.push_str("</tbody>\n</table>\n");
}

fn row(html: &mut String, seen: &CloneSummary) {
    // Each state has a sign, so that colours are not needed to distinguish them.
    let (class, sign, label) = match seen.state {
        CloneState::Running => ("run", "\u{25b6}", "running"),
        CloneState::Waiting => ("wait", "\u{25cb}", "waiting"),
        CloneState::Failed => ("fail", "\u{2716}", "failed"),
        CloneState::Succeeded => ("done", "\u{2714}", "succeeded"),
    };
    let _ = write!(
        html,
        "<tr class=\"{class}\"><th scope=\"row\"><span class=\"namespace\">{}/</span>{}",
        text(&seen.namespace, NAME_CHARS),
        text(&seen.shown_name(), NAME_CHARS),
    );
    if !seen.source.is_empty() {
        let _ = write!(html, "<div class=\"from\">from {}</div>", text(&seen.source, NAME_CHARS));
    }
    let _ = write!(html, "</th><td><span class=\"sign\" aria-hidden=\"true\">{sign}</span> {label}");
    if !seen.phase.is_empty() {
        let _ = write!(html, "<div class=\"phase\">{}</div>", text(&seen.phase, NAME_CHARS));
    }
    let _ = write!(html, "</td><td class=\"progress\">{}</td><td>", progress(seen));
    for line in [seen.amounts(), seen.why(), ended(seen)].iter().filter(|line| !line.is_empty()) {
        let _ = write!(html, "<div>{}</div>", text(line, TEXT_CHARS));
    }
    html.push_str("</td></tr>\n");
}

fn progress(seen: &CloneSummary) -> String {
    match seen.percent {
        Some(percent) => {
            let shown = seen.percent_text();
            format!(
                "<progress max=\"100\" value=\"{percent:.2}\">{shown}</progress> <span class=\"percent\">{shown}</span>"
            )
        }
        None => "<progress max=\"100\" value=\"0\">-</progress> <span class=\"percent\">-</span>".to_owned(),
    }
}

fn ended(seen: &CloneSummary) -> String {
    if seen.ended.is_empty() { String::new() } else { format!("ended {}", readable_time(&seen.ended)) }
}

/// `2026-01-01T12:00:00Z` as `2026-01-01 12:00:00 UTC`; anything else as it is.
fn readable_time(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('T')) {
        Some((date, clock)) => format!("{date} {clock} UTC"),
        None => time.to_owned(),
    }
}

/// Escapes text from the cluster for HTML; at most `max` characters.
fn text(raw: &str, max: usize) -> String {
    let mut html = String::with_capacity(raw.len().min(max) + 8);
    for (index, c) in raw.chars().enumerate() {
        if index == max {
            html.push('\u{2026}');
            break;
        }
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c if c.is_control() => html.push(' '),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_becomes_markup(raw in any::<String>()) {
            let html = text(&raw, TEXT_CHARS);
            prop_assert!(!html.contains(['<', '>', '"', '\'', '\n', '\0']));
            prop_assert!(html.len() <= (TEXT_CHARS + 1) * 6);
        }
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        assert_eq!(text("abcdef", 3), "abc\u{2026}");
        assert_eq!(text("abc", 3), "abc");
    }

    #[test]
    fn a_standby_replica_is_named() {
        assert!(render(&Overview::default()).contains("is a standby"));
    }
}
