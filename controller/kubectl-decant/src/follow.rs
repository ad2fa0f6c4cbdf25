//! Watches DataVolumes and PVCs, and follows one clone to its end.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::args::Output;
use crate::beside_cdi;
use crate::ending::{Ending, Failure, lacks_kind};
use crate::output::{plain, print_error, print_line, print_next};
use crate::screen::{Line, Screen, progress};
use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams, Watch, WatchEvent};
use decant_controller::objects;
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Object};
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

/// The objects that report clones, kept up to date by watches.
pub(super) struct CloneWatch<'s> {
    data_volumes: Option<KindWatch<'s, DataVolume>>,
    claims: Option<KindWatch<'s, Claim>>,
}

impl<'s> CloneWatch<'s> {
    /// All clones that `params` selects. PVCs that the user may not list are left out.
    pub(super) fn new(session: &'s Session, params: &ListParams) -> Result<Self, Failure> {
        // Beside CDI, DataVolumes are CDI's.
        let data_volumes = match beside_cdi::known(session) {
            Some(true) => None,
            _ => Some(KindWatch::new(session, params.clone())?),
        };
        let claims = match KindWatch::new(session, params.clone()) {
            Ok(claims) => Some(claims),
            Err(e) if e.is_forbidden() => None,
            Err(e) => return Err(e.into()),
        };
        Ok(Self { data_volumes, claims })
    }

    /// One clone.
    pub(super) fn of(session: &'s Session, followed: &FollowedClone) -> Result<Self, Failure> {
        let FollowedClone { kind, key } = followed;
        let fields = format!("metadata.name={}", key.name);
        let params = ListParams { namespace: Some(key.namespace.clone()), fields, ..ListParams::default() };
        Ok(match kind {
            Kind::PersistentVolumeClaim => {
                Self { data_volumes: None, claims: Some(KindWatch::new(session, params)?) }
            }
            _ => Self { data_volumes: Some(KindWatch::new(session, params)?), claims: None },
        })
    }

    /// Waits a short time for a change. Returns whether there may be one. Restarts watches that ended.
    pub(super) fn wait(&mut self) -> Result<bool, Failure> {
        let limit = if self.data_volumes.is_some() && self.claims.is_some() { POLL / 2 } else { POLL };
        let by_data_volume = self.data_volumes.as_mut().map_or(Ok(false), |watch| watch.wait(limit))?;
        let by_claim = self.claims.as_mut().map_or(Ok(false), |watch| watch.wait(limit))?;
        Ok(by_data_volume || by_claim)
    }

    /// The current DataVolumes.
    pub(super) fn data_volumes(&self) -> Vec<&DataVolume> {
        self.data_volumes.as_ref().map(|watch| watch.all.values().collect()).unwrap_or_default()
    }

    /// The current PVCs, also those that are not clones.
    pub(super) fn claims(&self) -> Vec<&Claim> {
        self.claims.as_ref().map(|watch| watch.all.values().collect()).unwrap_or_default()
    }

    /// The summary of a followed clone, if its object exists and is a clone.
    fn summary(&self, key: &Key) -> FollowedSummary {
        let by_data_volume =
            self.data_volumes.as_ref().and_then(|watch| watch.all.get(key)).map(CloneSummary::of);
        let by_claim = self.claims.as_ref().and_then(|watch| watch.all.get(key)).map(CloneSummary::of_claim);
        match by_data_volume.or(by_claim) {
            None => FollowedSummary::Missing,
            Some(None) => FollowedSummary::NotAClone,
            Some(Some(seen)) => FollowedSummary::Clone(Box::new(seen)),
        }
    }
}

/// What is known of a clone that is followed.
enum FollowedSummary {
    Missing,
    NotAClone,
    Clone(Box<CloneSummary>),
}

/// A kind of object that reports clones.
trait ReportsClones: DeserializeOwned {
    const KIND: Kind;
    fn key(&self) -> Key;
}

impl ReportsClones for DataVolume {
    const KIND: Kind = Kind::DataVolume;
    fn key(&self) -> Key {
        self.metadata.key()
    }
}

impl ReportsClones for Claim {
    const KIND: Kind = Kind::PersistentVolumeClaim;
    fn key(&self) -> Key {
        self.metadata.key()
    }
}

/// Objects of one kind, kept up to date by a watch.
struct KindWatch<'s, T> {
    session: &'s Session,
    params: ListParams,
    watch: Option<Box<dyn Watch>>,
    unreachable_since: Option<Instant>,
    /// The current versions.
    all: BTreeMap<Key, T>,
}

impl<'s, T: ReportsClones> KindWatch<'s, T> {
    fn new(session: &'s Session, params: ListParams) -> Result<Self, ApiError> {
        let mut watch = Self { session, params, watch: None, unreachable_since: None, all: BTreeMap::new() };
        watch.start()?;
        Ok(watch)
    }

    fn wait(&mut self, limit: Duration) -> Result<bool, Failure> {
        let Some(watch) = &mut self.watch else { return self.restart() };
        let event = match watch.next(limit) {
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
        let Ok(object) = objects::decode::<T>(object) else { return };
        let key = object.key();
        if exists {
            self.all.insert(key, object);
        } else {
            self.all.remove(&key);
        }
    }

    fn start(&mut self) -> Result<(), ApiError> {
        let cluster: &dyn Cluster = &self.session.cluster;
        let (all, version) = list::<T>(cluster, T::KIND, &self.params)?;
        self.all = all.into_iter().map(|object| (object.key(), object)).collect();
        self.watch = Some(cluster.watch(T::KIND, &self.params, &version)?);
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

/// The object that reports a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FollowedClone {
    /// DataVolume or PersistentVolumeClaim.
    pub(super) kind: Kind,
    pub(super) key: Key,
}

impl FollowedClone {
    pub(super) fn data_volume(key: Key) -> Self {
        Self { kind: Kind::DataVolume, key }
    }

    pub(super) fn claim(key: Key) -> Self {
        Self { kind: Kind::PersistentVolumeClaim, key }
    }

    /// The argument of `kubectl decant status` for it.
    fn argument(&self) -> String {
        let is_claim = self.kind == Kind::PersistentVolumeClaim;
        if is_claim { format!("pvc/{}", self.key.name) } else { self.key.name.clone() }
    }
}

impl std::fmt::Display for FollowedClone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", kind_name(self.kind == Kind::PersistentVolumeClaim), self.key)
    }
}

/// The kind in messages.
pub(super) fn kind_name(is_claim: bool) -> &'static str {
    if is_claim { "PVC" } else { "DataVolume" }
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

/// Follows a clone to its end. Shows a bar on standard error if that is a terminal, otherwise a line at
/// intervals, and prints the result on standard output.
pub(super) fn follow_to_end(
    session: &Session,
    followed: &FollowedClone,
    options: &FollowOptions,
) -> Result<Ending, Failure> {
    let mut watch = CloneWatch::of(session, followed)?;
    session.watch_signals()?;
    let mut reporter = Reporter::new(options.output);
    let started = Instant::now();
    let mut blocked_since: Option<Instant> = None;
    let mut succeeded_since: Option<Instant> = None;
    loop {
        let seen = match watch.summary(&followed.key) {
            FollowedSummary::Clone(seen) => *seen,
            FollowedSummary::Missing => {
                reporter.end();
                return Err(Failure::new(Ending::Missing, format!("{followed} was deleted")));
            }
            FollowedSummary::NotAClone => return Err(not_a_clone(&followed.to_string())),
        };
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
                format!("{followed} cannot continue: {}", with_help(&seen)),
            ));
        }
        if options.timeout.is_some_and(|limit| started.elapsed() >= limit) {
            reporter.end();
            let text =
                format!("timed out waiting for {followed} ({}); the clone continues", state_text(&seen));
            return Err(Failure::new(Ending::TimedOut, text));
        }
        if let Some(ending) = session.signalled() {
            reporter.end();
            let text = format!(
                "{followed} continues; `kubectl decant status -n {} {} --follow` shows it",
                followed.key.namespace,
                followed.argument()
            );
            return Err(Failure::new(ending, text));
        }
        watch.wait()?;
    }
}

/// The failure of a command about an object that is not a clone; `what` is its kind and name.
pub(super) fn not_a_clone(what: &str) -> Failure {
    Failure::new(Ending::Failed, format!("{what} is not a clone of a PVC"))
}

/// Prints the result.
fn finish(seen: &CloneSummary, output: Option<Output>) -> Result<Ending, Failure> {
    if seen.state == CloneState::Failed {
        let text = format!("{} {} failed: {}", kind_name(seen.is_claim()), seen.key(), with_help(seen));
        return Err(Failure::new(Ending::Clone, text));
    }
    if output.is_none() {
        let amounts = Some(seen.amounts()).filter(|text| !text.is_empty());
        let rest: Vec<String> = amounts.into_iter().chain(seen.digest.clone()).collect();
        let rest = if rest.is_empty() { String::new() } else { format!(": {}", rest.join(", ")) };
        let resource = if seen.is_claim() { "persistentvolumeclaim" } else { "datavolume.cdi.kubevirt.io" };
        print_line(&plain(&format!("{resource}/{} cloned{rest}", seen.name)));
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
        let text = format!("{}  {}  {}", seen.shown_name(), phase(seen), progress(seen));
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
