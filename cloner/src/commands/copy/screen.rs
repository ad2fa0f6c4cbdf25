//! Shows a copy to the user: a progress bar on a terminal, otherwise plain lines, and one line at the end.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use decant_shared::protocol::progress::{Percent, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::commands::cli::LogFormat;
use crate::report::progress_log::{ProgressLog, describe, summary};
use crate::report::ticker::TICK;

/// The bar on the terminal of this process, if there is one. Log lines must not overwrite it.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Standard error for log lines. Hides the bar while a line is written.
pub struct AroundBar;

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BAR.get() {
            Some(bar) => bar.suspend(|| io::stderr().write_all(bytes)),
            None => io::stderr().write_all(bytes),
        }
        .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The interval between two drawings of the bar.
const FRAME: Duration = Duration::from_millis(200);

/// Where progress goes.
pub struct Screen {
    kind: ScreenKind,
    quiet: bool,
}

#[derive(Clone)]
enum ScreenKind {
    /// A bar on stderr.
    Bar(ProgressBar),
    /// Lines on stderr at intervals.
    Lines,
    /// Log records at intervals.
    Log,
    Nothing,
}

impl Screen {
    /// A bar if stderr is a terminal; otherwise lines, or log records if the log is JSON. Nothing if `quiet` is set.
    pub fn new(quiet: bool, format: LogFormat) -> Self {
        let kind = match format {
            _ if quiet => ScreenKind::Nothing,
            LogFormat::Json => ScreenKind::Log,
            LogFormat::Text if std::io::stderr().is_terminal() => {
                ScreenKind::Bar(BAR.get_or_init(bar).clone())
            }
            LogFormat::Text => ScreenKind::Lines,
        };
        Self { kind, quiet }
    }

    /// The interval between two updates.
    pub fn interval(&self) -> Duration {
        if matches!(self.kind, ScreenKind::Bar(_)) { FRAME } else { TICK }
    }

    /// The function that shows an update.
    pub fn painter(&self) -> impl FnMut(&Progress) + Send + 'static {
        let kind = self.kind.clone();
        let mut log = ProgressLog::default();
        move |progress| match &kind {
            ScreenKind::Bar(bar) => {
                log.watch(progress, Instant::now());
                bar.set_position(progress.percent().hundredths());
                bar.set_message(match progress.phase() {
                    Phase::Starting | Phase::Scan => "scanning the source".to_owned(),
                    Phase::Connect => "connecting".to_owned(),
                    _ => describe(progress, log.meter()),
                });
            }
            ScreenKind::Lines => {
                if let Some(sentence) = log.sentence(progress, Instant::now()) {
                    // A closed stderr must not fail the copy.
                    let _ = writeln!(std::io::stderr(), "{sentence}");
                }
            }
            ScreenKind::Log => {
                if let Some(sentence) = log.sentence(progress, Instant::now()) {
                    log::info!("{sentence}");
                }
            }
            ScreenKind::Nothing => {}
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if let ScreenKind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }

    /// Prints a remark about the copy.
    pub fn note(&self, text: &str) {
        match &self.kind {
            ScreenKind::Bar(bar) => bar.println(text),
            ScreenKind::Lines => drop(writeln!(std::io::stderr(), "{text}")),
            // The clone itself logs it.
            ScreenKind::Log | ScreenKind::Nothing => {}
        }
    }

    /// Prints a warning about a copy that succeeded. It goes to standard error even with `--quiet`.
    pub fn warn(&self, text: &str) {
        match self.kind {
            ScreenKind::Log => log::warn!("{text}"),
            _ => drop(writeln!(std::io::stderr(), "warning: {text}")),
        }
    }

    /// Prints the line at the end.
    pub fn report(&self, progress: &Progress, elapsed: Duration, source: &Path, target: &Path) {
        if self.quiet {
            return;
        }
        let from = source.display();
        let to = target.display();
        let digest = progress.digest().map_or(String::new(), |digest| format!(", {digest}"));
        let line = format!("{from} -> {to}: {}{digest}", summary(progress, elapsed));
        // This is the only line on standard output.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(Percent::FULL.hundredths()), ProgressDrawTarget::stderr());
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let template = if colour { "[{bar:30.cyan/dim}] {msg}" } else { "[{bar:30}] {msg}" };
    // Both templates are constants. If a template were wrong, the default style would be used.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
