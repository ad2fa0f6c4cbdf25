//! DataVolumes as they change, and one of them followed to its end.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::args::Output;
use crate::bar;
use crate::ending::{Ending, Failure, lacks_kind};
use crate::output::{complain, plain, print_next, say};
use crate::screen::Screen;
use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams, Watch, WatchEvent};
use decant_controller::objects;
use decant_controller::objects::{DataVolume, Key, Kind, Object};
use decant_controller::summary::advice::{advice, is_blocked};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};

/// For an API server that restarts: as long as this it may be away.
const AWAY: Duration = Duration::from_secs(60);
/// Between two tries to begin again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one look waits for a change. Then signals and times are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long to wait for the digest, which is written right behind the phase. Clones by CDI's own programs have none.
const DIGEST: Duration = Duration::from_secs(3);
/// How long a clone has to be blocked before that is its end: what blocks it may be on its way.
const BLOCKED: Duration = Duration::from_secs(10);
/// Where lines cannot be taken back: between two about the same clone that only its progress has changed.
const REPEAT: Duration = Duration::from_secs(5);

/// DataVolumes, kept up to date by a watch.
pub(super) struct Following<'s> {
    session: &'s Session,
    params: ListParams,
    watch: Option<Box<dyn Watch>>,
    away_since: Option<Instant>,
    /// As they are now.
    pub(super) all: BTreeMap<Key, DataVolume>,
}

impl<'s> Following<'s> {
    pub(super) fn new(session: &'s Session, params: ListParams) -> Result<Self, Failure> {
        let mut following = Self { session, params, watch: None, away_since: None, all: BTreeMap::new() };
        following.begin()?;
        Ok(following)
    }

    /// Waits a moment for changes. Returns whether there may be some. Watches that end are begun again.
    pub(super) fn look(&mut self) -> Result<bool, Failure> {
        let Some(watch) = &mut self.watch else { return self.begin_again() };
        let event = match watch.next(LOOK) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(false),
            Err(_) => {
                self.watch = None;
                return Ok(false);
            }
        };
        match event {
            WatchEvent::Applied(object) => self.put(object, true),
            WatchEvent::Deleted(object) => self.put(object, false),
            WatchEvent::Bookmark(_) => return Ok(false),
            WatchEvent::Failed(_) => self.watch = None,
        }
        Ok(true)
    }

    fn put(&mut self, object: Object, is_there: bool) {
        let Ok(dv) = objects::decode::<DataVolume>(object) else { return };
        let key = dv.metadata.key();
        if is_there {
            self.all.insert(key, dv);
        } else {
            self.all.remove(&key);
        }
    }

    fn begin(&mut self) -> Result<(), ApiError> {
        let cluster: &dyn Cluster = &self.session.cluster;
        let (all, version) = list::<DataVolume>(cluster, Kind::DataVolume, &self.params)?;
        self.all = all.into_iter().map(|dv| (dv.metadata.key(), dv)).collect();
        self.watch = Some(cluster.watch(Kind::DataVolume, &self.params, &version)?);
        Ok(())
    }

    fn begin_again(&mut self) -> Result<bool, Failure> {
        let since = *self.away_since.get_or_insert_with(Instant::now);
        match self.begin() {
            Ok(()) => {
                self.away_since = None;
                Ok(true)
            }
            Err(e) if (e.is_temporary() || e.is_expired()) && !lacks_kind(&e) && since.elapsed() < AWAY => {
                self.session.stop.sleep(PAUSE);
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// When to stop following one clone.
pub(super) struct Until {
    /// After this; `None` for never.
    pub(super) timeout: Option<Duration>,
    /// When it cannot go on before somebody does something.
    pub(super) is_blocked: bool,
    /// Changes as documents, instead of bars.
    pub(super) output: Option<Output>,
}

/// Follows the clone `key` to its end, with a bar on standard error if that is a terminal, else with a line now and
/// then. What is printed on standard output is its end.
pub(super) fn to_the_end(session: &Session, key: &Key, until: &Until) -> Result<Ending, Failure> {
    let fields = format!("metadata.name={}", key.name);
    let params = ListParams { namespace: Some(key.namespace.clone()), fields, ..ListParams::default() };
    let mut following = Following::new(session, params)?;
    session.watch_signals()?;
    let mut teller = Teller::new(until.output);
    let begun = Instant::now();
    let (mut blocked_since, mut succeeded_since): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let Some(dv) = following.all.get(key) else {
            teller.end();
            return Err(Failure::new(Ending::Missing, format!("DataVolume {key} was deleted")));
        };
        let seen = CloneSummary::of(dv)
            .ok_or_else(|| Failure::new(Ending::Failed, format!("DataVolume {key} is no clone of a PVC")))?;
        teller.tell(&seen)?;
        if seen.state == CloneState::Succeeded && seen.digest.is_none() {
            let since = *succeeded_since.get_or_insert_with(Instant::now);
            if since.elapsed() < DIGEST {
                following.look()?;
                continue;
            }
        }
        if seen.state.is_final() {
            teller.end();
            return end(&seen, until.output);
        }
        blocked_since = is_blocked(&seen.reason).then(|| blocked_since.unwrap_or_else(Instant::now));
        if until.is_blocked && blocked_since.is_some_and(|since| since.elapsed() >= BLOCKED) {
            teller.end();
            return Err(Failure::new(
                Ending::Clone,
                format!("DataVolume {key} cannot go on: {}", with_help(&seen)),
            ));
        }
        if until.timeout.is_some_and(|limit| begun.elapsed() >= limit) {
            teller.end();
            let text = format!("timed out waiting for DataVolume {key} ({}); it goes on", told(&seen));
            return Err(Failure::new(Ending::TimedOut, text));
        }
        if let Some(ending) = session.signalled() {
            teller.end();
            let text = format!(
                "DataVolume {key} goes on; `kubectl decant status -n {} {} --follow` shows it",
                key.namespace, key.name
            );
            return Err(Failure::new(ending, text));
        }
        following.look()?;
    }
}

/// The last line, and the code.
fn end(seen: &CloneSummary, output: Option<Output>) -> Result<Ending, Failure> {
    if seen.state == CloneState::Failed {
        let text = format!("DataVolume {} failed: {}", seen.key(), with_help(seen));
        return Err(Failure::new(Ending::Clone, text));
    }
    if output.is_none() {
        let amounts = Some(seen.amounts()).filter(|text| !text.is_empty());
        let rest: Vec<String> = amounts.into_iter().chain(seen.digest.clone()).collect();
        let rest = if rest.is_empty() { String::new() } else { format!(": {}", rest.join(", ")) };
        say(&plain(&format!("datavolume.cdi.kubevirt.io/{} cloned{rest}", seen.name)));
    }
    Ok(Ending::Done)
}

fn told(seen: &CloneSummary) -> String {
    let why = seen.why();
    plain(if why.is_empty() { &seen.phase } else { &why })
}

/// Why it stands still, and what helps.
pub(super) fn with_help(seen: &CloneSummary) -> String {
    let help = advice(&seen.reason).map(|advice| format!("\nTo help it: {}", advice.helps));
    told(seen) + &help.unwrap_or_default()
}

/// Tells a person, or a program, how one clone goes on.
struct Teller {
    screen: Option<Screen<io::Stderr>>,
    output: Option<Output>,
    last: Option<CloneSummary>,
    told: String,
    told_at: Instant,
}

impl Teller {
    fn new(output: Option<Output>) -> Self {
        let screen = if output.is_none() { Screen::on(io::stderr()) } else { None };
        Self { screen, output, last: None, told: String::new(), told_at: Instant::now() }
    }

    fn tell(&mut self, seen: &CloneSummary) -> Result<(), Failure> {
        if self.last.as_ref() == Some(seen) {
            return Ok(());
        }
        let text = format!("{}  {}  {}", seen.name, phase(seen), bar::progress(seen));
        if let Some(screen) = &mut self.screen {
            screen.draw(&[(text, Some(seen.state))]);
        } else if let Some(output) = self.output {
            print_next(output, seen)?;
        } else if self.is_due(seen, &text) {
            complain(&text);
            (self.told, self.told_at) = (text, Instant::now());
        } else {
            // What is not told now is news the next time, too.
            return Ok(());
        }
        self.last = Some(seen.clone());
        Ok(())
    }

    /// Whether a line is worth one of its own: another phase or reason at once, progress now and then.
    fn is_due(&self, seen: &CloneSummary, text: &str) -> bool {
        let only_progress = self.last.as_ref().is_some_and(|last| {
            last.phase == seen.phase
                && last.why() == seen.why()
                && last.percent.is_some() == seen.percent.is_some()
        });
        text != self.told && (!only_progress || self.told_at.elapsed() >= REPEAT)
    }

    /// Nothing of it stays on a terminal.
    fn end(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
    }
}

/// The phase, or a word for none.
pub(super) fn phase(seen: &CloneSummary) -> String {
    if seen.phase.is_empty() { "Pending".to_owned() } else { plain(&seen.phase) }
}
