//! What a person sees of a copy: a bar on a terminal, plain lines elsewhere, one line at the end.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use decant_shared::protocol::progress::{Percent, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::commands::cli::LogFormat;
use crate::report::progress_log::{ProgressLog, describe, summary};
use crate::report::ticker::TICK;

/// The bar on this process's terminal, if it has one: log lines have to go around it.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Standard error as log lines see it: a bar on it makes room for them.
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

/// A bar is drawn this often.
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
    /// A line on stderr now and then.
    Lines,
    /// A log record now and then.
    Log,
    Nothing,
}

impl Screen {
    /// A bar if stderr is a terminal, else lines (log records if those are JSON), nothing if `quiet`.
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

    /// How often to paint.
    pub fn rhythm(&self) -> Duration {
        if matches!(self.kind, ScreenKind::Bar(_)) { FRAME } else { TICK }
    }

    /// What paints.
    pub fn painter(&self) -> impl FnMut(&Progress) + Send + 'static {
        let kind = self.kind.clone();
        let mut narrator = ProgressLog::default();
        move |progress| match &kind {
            ScreenKind::Bar(bar) => {
                narrator.watch(progress, Instant::now());
                bar.set_position(progress.percent().hundredths());
                bar.set_message(match progress.phase() {
                    Phase::Starting | Phase::Scan => "looking at the source".to_owned(),
                    Phase::Connect => "connecting".to_owned(),
                    _ => describe(progress, narrator.meter()),
                });
            }
            ScreenKind::Lines => {
                if let Some(sentence) = narrator.sentence(progress, Instant::now()) {
                    // A closed stderr is no reason to fail a copy.
                    let _ = writeln!(std::io::stderr(), "{sentence}");
                }
            }
            ScreenKind::Log => {
                if let Some(sentence) = narrator.sentence(progress, Instant::now()) {
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

    /// What has to be known although the copy succeeded: on standard error, also where it is quiet.
    pub fn warn(&self, text: &str) {
        match self.kind {
            ScreenKind::Log => log::warn!("{text}"),
            _ => drop(writeln!(std::io::stderr(), "warning: {text}")),
        }
    }

    /// The line at the end.
    pub fn report(&self, progress: &Progress, elapsed: Duration, source: &Path, target: &Path) {
        if self.quiet {
            return;
        }
        let (from, to) = (source.display(), target.display());
        let digest = progress.digest().map_or(String::new(), |digest| format!(", {digest}"));
        let line = format!("{from} -> {to}: {}{digest}", summary(progress, elapsed));
        // Standard output has this line and nothing else, whatever stderr shows.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(Percent::FULL.hundredths()), ProgressDrawTarget::stderr());
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let template = if colour { "[{bar:30.cyan/dim}] {msg}" } else { "[{bar:30}] {msg}" };
    // Both templates are constants; were one wrong, the default style would still do.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
