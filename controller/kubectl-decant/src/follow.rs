//! Watches DataVolumes, and follows one clone to its end.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::args::Output;
use crate::ending::{Ending, Failure, lacks_kind};
use crate::output::{plain, print_error, print_line, print_next};
use crate::screen::{Line, Screen, progress};
use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams, Watch, WatchEvent};
use decant_controller::objects;
use decant_controller::objects::{DataVolume, Key, Kind, Object};
use decant_controller::summary::advice::{advice, is_blocked};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};

/// An API server that restarts may be unreachable for this long.
const UNREACHABLE_LIMIT: Duration = Duration::from_secs(60);
/// The pause between two attempts to list and watch again.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// The duration of one wait for a change. Signals and time limits are checked between two waits.
const POLL: Duration = Duration::from_millis(300);
/// How long to wait for the digest, which is written after the phase. Clones by CDI's own programs have none.
const DIGEST_WAIT: Duration = Duration::from_secs(3);
/// How long a clone has to be blocked before the command gives up: the missing object may be created soon.
const BLOCKED_LIMIT: Duration = Duration::from_secs(10);
/// Without a terminal: the interval of lines about a clone of which only the progress changes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// DataVolumes, kept up to date by a watch.
pub(super) struct DataVolumeWatch<'s> {
    session: &'s Session,
    params: ListParams,
    watch: Option<Box<dyn Watch>>,
    unreachable_since: Option<Instant>,
    /// The current versions.
    pub(super) all: BTreeMap<Key, DataVolume>,
}

impl<'s> DataVolumeWatch<'s> {
    pub(super) fn new(session: &'s Session, params: ListParams) -> Result<Self, Failure> {
        let mut watch = Self { session, params, watch: None, unreachable_since: None, all: BTreeMap::new() };
        watch.start()?;
        Ok(watch)
    }

    /// Waits a short time for a change. Returns whether there may be one. Restarts a watch that ended.
    pub(super) fn wait(&mut self) -> Result<bool, Failure> {
        let Some(watch) = &mut self.watch else { return self.restart() };
        let event = match watch.next(POLL) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(false),
            Err(_) => {
                self.watch = None;
                return Ok(false);
            }
        };
        match event {
            WatchEvent::Applied(object) => self.store(object, true),
            WatchEvent::Deleted(object) => self.store(object, false),
            WatchEvent::Bookmark(_) => return Ok(false),
            WatchEvent::Failed(_) => self.watch = None,
        }
        Ok(true)
    }

    fn store(&mut self, object: Object, exists: bool) {
        let Ok(dv) = objects::decode::<DataVolume>(object) else { return };
        let key = dv.metadata.key();
        if exists {
            self.all.insert(key, dv);
        } else {
            self.all.remove(&key);
        }
    }

    fn start(&mut self) -> Result<(), ApiError> {
        let cluster: &dyn Cluster = &self.session.cluster;
        let (all, version) = list::<DataVolume>(cluster, Kind::DataVolume, &self.params)?;
        self.all = all.into_iter().map(|dv| (dv.metadata.key(), dv)).collect();
        self.watch = Some(cluster.watch(Kind::DataVolume, &self.params, &version)?);
        Ok(())
    }

    fn restart(&mut self) -> Result<bool, Failure> {
        let since = *self.unreachable_since.get_or_insert_with(Instant::now);
        match self.start() {
            Ok(()) => {
                self.unreachable_since = None;
                Ok(true)
            }
            Err(e)
                if (e.is_temporary() || e.is_expired())
                    && !lacks_kind(&e)
                    && since.elapsed() < UNREACHABLE_LIMIT =>
            {
                self.session.stop.sleep(RETRY_WAIT);
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// How to follow a clone.
pub(super) struct FollowOptions {
    /// `None` for no limit.
    pub(super) timeout: Option<Duration>,
    /// Whether to give up on a clone that cannot continue without help.
    pub(super) ends_if_blocked: bool,
    /// Prints changes as documents instead of bars.
    pub(super) output: Option<Output>,
}

/// Follows the clone `key` to its end. Shows a bar on standard error if that is a terminal, otherwise a line at
/// intervals, and prints the result on standard output.
pub(super) fn follow_to_end(
    session: &Session,
    key: &Key,
    options: &FollowOptions,
) -> Result<Ending, Failure> {
    let fields = format!("metadata.name={}", key.name);
    let params = ListParams { namespace: Some(key.namespace.clone()), fields, ..ListParams::default() };
    let mut watch = DataVolumeWatch::new(session, params)?;
    session.watch_signals()?;
    let mut reporter = Reporter::new(options.output);
    let started = Instant::now();
    let mut blocked_since: Option<Instant> = None;
    let mut succeeded_since: Option<Instant> = None;
    loop {
        let Some(dv) = watch.all.get(key) else {
            reporter.end();
            return Err(Failure::new(Ending::Missing, format!("DataVolume {key} was deleted")));
        };
        let seen = CloneSummary::of(dv).ok_or_else(|| {
            Failure::new(Ending::Failed, format!("DataVolume {key} is not a clone of a PVC"))
        })?;
        reporter.report(&seen)?;
        if seen.state == CloneState::Succeeded && seen.digest.is_none() {
            let since = *succeeded_since.get_or_insert_with(Instant::now);
            if since.elapsed() < DIGEST_WAIT {
                watch.wait()?;
                continue;
            }
        }
        if seen.state.is_final() {
            reporter.end();
            return finish(&seen, options.output);
        }
        blocked_since = is_blocked(&seen.reason).then(|| blocked_since.unwrap_or_else(Instant::now));
        if options.ends_if_blocked && blocked_since.is_some_and(|since| since.elapsed() >= BLOCKED_LIMIT) {
            reporter.end();
            return Err(Failure::new(
                Ending::Clone,
                format!("DataVolume {key} cannot continue: {}", with_help(&seen)),
            ));
        }
        if options.timeout.is_some_and(|limit| started.elapsed() >= limit) {
            reporter.end();
            let text = format!(
                "timed out waiting for DataVolume {key} ({}); the clone continues",
                state_text(&seen)
            );
            return Err(Failure::new(Ending::TimedOut, text));
        }
        if let Some(ending) = session.signalled() {
            reporter.end();
            let text = format!(
                "DataVolume {key} continues; `kubectl decant status -n {} {} --follow` shows it",
                key.namespace, key.name
            );
            return Err(Failure::new(ending, text));
        }
        watch.wait()?;
    }
}

/// Prints the result.
fn finish(seen: &CloneSummary, output: Option<Output>) -> Result<Ending, Failure> {
    if seen.state == CloneState::Failed {
        let text = format!("DataVolume {} failed: {}", seen.key(), with_help(seen));
        return Err(Failure::new(Ending::Clone, text));
    }
    if output.is_none() {
        let amounts = Some(seen.amounts()).filter(|text| !text.is_empty());
        let rest: Vec<String> = amounts.into_iter().chain(seen.digest.clone()).collect();
        let rest = if rest.is_empty() { String::new() } else { format!(": {}", rest.join(", ")) };
        print_line(&plain(&format!("datavolume.cdi.kubevirt.io/{} cloned{rest}", seen.name)));
    }
    Ok(Ending::Done)
}

fn state_text(seen: &CloneSummary) -> String {
    let why = seen.why();
    plain(if why.is_empty() { &seen.phase } else { &why })
}

/// Why the clone does not continue, and what to do.
pub(super) fn with_help(seen: &CloneSummary) -> String {
    let help = advice(&seen.reason).map(|advice| format!("\nHint: {}", advice.helps));
    state_text(seen) + &help.unwrap_or_default()
}

/// Prints the changes of one clone: on a terminal, as lines, or as documents.
struct Reporter {
    screen: Option<Screen<io::Stderr>>,
    output: Option<Output>,
    last: Option<CloneSummary>,
    /// The last line without a terminal.
    printed: String,
    printed_at: Instant,
}

impl Reporter {
    fn new(output: Option<Output>) -> Self {
        let screen = if output.is_none() { Screen::on(io::stderr()) } else { None };
        Self { screen, output, last: None, printed: String::new(), printed_at: Instant::now() }
    }

    fn report(&mut self, seen: &CloneSummary) -> Result<(), Failure> {
        if self.last.as_ref() == Some(seen) {
            return Ok(());
        }
        let text = format!("{}  {}  {}", seen.name, phase(seen), progress(seen));
        if let Some(screen) = &mut self.screen {
            screen.draw(&[Line { text, state: Some(seen.state) }]);
        } else if let Some(output) = self.output {
            print_next(output, seen)?;
        } else if self.is_due(seen, &text) {
            print_error(&text);
            self.printed = text;
            self.printed_at = Instant::now();
        } else {
            // It is reported as a change by a later call.
            return Ok(());
        }
        self.last = Some(seen.clone());
        Ok(())
    }

    /// Whether to print a line: for another phase or reason immediately, for progress at intervals.
    fn is_due(&self, seen: &CloneSummary, text: &str) -> bool {
        let only_progress = self.last.as_ref().is_some_and(|last| {
            last.phase == seen.phase
                && last.why() == seen.why()
                && last.percent.is_some() == seen.percent.is_some()
        });
        text != self.printed && (!only_progress || self.printed_at.elapsed() >= PROGRESS_INTERVAL)
    }

    /// Removes the bar from the terminal.
    fn end(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
    }
}

/// The phase; `Pending` if there is none yet.
pub(super) fn phase(seen: &CloneSummary) -> String {
    if seen.phase.is_empty() { "Pending".to_owned() } else { plain(&seen.phase) }
}
