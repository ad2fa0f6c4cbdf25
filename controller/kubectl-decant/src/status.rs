//! `kubectl decant status`: running clones with progress bars, and the clones that ended last.

use std::collections::BTreeMap;
use std::io;

use decant_shared::protocol::units::Seconds;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::StatusArgs;
use crate::beside_cdi;
use crate::ending::{Ending, Failure, lacks_kind};
use crate::follow::{CloneWatch, FollowOptions, FollowedClone, follow_to_end, not_a_clone, phase};
use crate::output::{is_colourful, plain, print, print_error, print_line, print_next, table};
use crate::screen::{Line, Screen, progress};
use crate::session::{Session, list};
use crate::unreported::{UnreportedError, status_errors};
use decant_controller::api::cluster::{Cluster, ListParams};
use decant_controller::objects;
use decant_controller::objects::{Claim, DataVolume, Key, Kind};
use decant_controller::summary::clone_summary::CloneSummary;
use decant_controller::summary::pick::{Picked, pick_with_claims};

/// What an argument that names a PVC starts with.
const CLAIM_PREFIX: &str = "pvc/";
/// More open clones than a person reads.
const OPEN_MAX: usize = 1000;

/// The document that `-o` prints.
#[derive(Serialize)]
struct Clones<'a> {
    clones: Vec<&'a CloneSummary>,
}

pub(super) fn run(session: &Session, args: &StatusArgs) -> Result<Ending, Failure> {
    match (&args.name, args.follow) {
        (Some(name), true) => {
            let followed = match named(session, name)? {
                NamedClone::DataVolume(dv) => FollowedClone::data_volume(dv.metadata.key()),
                NamedClone::Claim(claim) => FollowedClone::claim(claim.metadata.key()),
            };
            let options = FollowOptions { timeout: None, ends_if_blocked: false, output: args.output };
            follow_to_end(session, &followed, &options)
        }
        (None, true) => follow_all(session, args),
        (Some(name), false) => {
            let seen = match named(session, name)? {
                NamedClone::DataVolume(dv) => {
                    let mut seen =
                        CloneSummary::of(&dv).ok_or_else(|| not_a_clone(&format!("DataVolume {name}")))?;
                    add_error(&mut seen, &status_errors(session, &session.scope(false), &[*dv]));
                    seen
                }
                NamedClone::Claim(claim) => {
                    let what = format!("PVC {}", claim.metadata.name);
                    CloneSummary::of_claim(&claim).ok_or_else(|| not_a_clone(&what))?
                }
            };
            show(session, args, &Picked { open: vec![seen], ..Picked::default() })
        }
        (None, false) => {
            let scope = session.scope(args.all_namespaces);
            // Beside CDI, DataVolumes are CDI's.
            let all: Vec<DataVolume> = match beside_cdi::known(session) {
                Some(true) => Vec::new(),
                _ => session.list(Kind::DataVolume, &scope)?,
            };
            let mut picked = pick_with_claims(&all, &claims(session, &scope)?, OPEN_MAX, args.recent.into());
            let errors = status_errors(session, &scope, &all);
            for seen in picked.open.iter_mut().chain(&mut picked.recent) {
                add_error(seen, &errors);
            }
            show(session, args, &picked)
        }
    }
}

/// PVCs; none for users who may not list them.
fn claims(session: &Session, scope: &ListParams) -> Result<Vec<Claim>, Failure> {
    match list(&session.cluster, Kind::PersistentVolumeClaim, scope) {
        Ok((claims, _)) => Ok(claims),
        Err(e) if e.is_forbidden() => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// The object that an argument names.
enum NamedClone {
    DataVolume(Box<DataVolume>),
    Claim(Box<Claim>),
}

/// The DataVolume `name`, or the PVC if there is no such DataVolume; `pvc/NAME` names only a PVC.
fn named(session: &Session, name: &str) -> Result<NamedClone, Failure> {
    let unreadable = |kind: &str, e: &objects::Unreadable| {
        Failure::new(Ending::Failed, format!("{kind} {name} cannot be read: {e}"))
    };
    let claim =
        |name: &str| session.cluster.get(Kind::PersistentVolumeClaim, &Key::new(&session.namespace, name));
    if let Some(name) = name.strip_prefix(CLAIM_PREFIX) {
        let claim = objects::decode(claim(name)?).map_err(|e| unreadable("PVC", &e))?;
        return Ok(NamedClone::Claim(Box::new(claim)));
    }
    if beside_cdi::known(session) == Some(true) {
        let claim = objects::decode(claim(name)?).map_err(|e| unreadable("PVC", &e))?;
        return Ok(NamedClone::Claim(Box::new(claim)));
    }
    // The API server has the error message for a missing DataVolume.
    match session.cluster.get(Kind::DataVolume, &Key::new(&session.namespace, name)) {
        Ok(object) => {
            let dv = objects::decode(object).map_err(|e| unreadable("DataVolume", &e))?;
            Ok(NamedClone::DataVolume(Box::new(dv)))
        }
        Err(missing) if missing.is_not_found() && !lacks_kind(&missing) => {
            let claim = claim(name).ok().and_then(|object| objects::decode::<Claim>(object).ok());
            let claim = claim.filter(|claim| CloneSummary::of_claim(claim).is_some());
            claim.map(|claim| NamedClone::Claim(Box::new(claim))).ok_or_else(|| missing.into())
        }
        Err(e) => Err(e.into()),
    }
}

/// The status of a DataVolume that cannot be written is outdated: the error replaces its reason.
fn add_error(summary: &mut CloneSummary, errors: &BTreeMap<Key, UnreportedError>) {
    if let Some(error) = errors.get(&summary.key()).filter(|_| !summary.is_claim()) {
        summary.reason.clone_from(&error.reason);
        summary.message.clone_from(&error.message);
    }
}

fn show(session: &Session, args: &StatusArgs, picked: &Picked) -> Result<Ending, Failure> {
    if let Some(output) = args.output {
        let clones = picked.open.iter().chain(&picked.recent).collect();
        print(output, &Clones { clones })?;
        return Ok(Ending::Done);
    }
    if picked.open.is_empty() && picked.recent.is_empty() {
        print_error(&nothing(session, args));
        return Ok(Ending::Done);
    }
    let has_colours = is_colourful(&io::stdout());
    for line in lines(picked, args.all_namespaces) {
        print_line(&if has_colours { line.coloured() } else { line.text });
    }
    Ok(Ending::Done)
}

fn nothing(session: &Session, args: &StatusArgs) -> String {
    if args.all_namespaces {
        "No clones found".to_owned()
    } else {
        format!("No clones found in {} namespace.", session.namespace)
    }
}

/// The table with its heading.
fn lines(picked: &Picked, all_namespaces: bool) -> Vec<Line> {
    let now = OffsetDateTime::now_utc();
    let mut states = vec![None];
    let mut rows = vec![row(["NAMESPACE", "NAME", "PHASE", "PROGRESS"].map(str::to_owned), all_namespaces)];
    for seen in picked.open.iter().chain(&picked.recent) {
        rows.push(cells(seen, all_namespaces, now));
        states.push(Some(seen.state));
    }
    let mut lines: Vec<Line> =
        table(&rows).into_iter().zip(states).map(|(text, state)| Line { text, state }).collect();
    if picked.more_open > 0 {
        lines.push(Line { text: format!("... and {} more", picked.more_open), state: None });
    }
    lines
}

fn cells(seen: &CloneSummary, all_namespaces: bool, now: OffsetDateTime) -> Vec<String> {
    let mut progress = progress(seen);
    if seen.state.is_final()
        && let Some(age) = ago(&seen.ended, now)
    {
        progress += &format!("  {age} ago");
    }
    row(
        [seen.namespace.clone(), seen.shown_name(), phase(seen), progress].map(|cell| plain(&cell)),
        all_namespaces,
    )
}

fn row(cells: [String; 4], all_namespaces: bool) -> Vec<String> {
    cells.into_iter().skip(usize::from(!all_namespaces)).collect()
}

/// The time since an RFC 3339 timestamp in its two largest units; `None` for other text.
fn ago(time: &str, now: OffsetDateTime) -> Option<String> {
    let secs = (now - OffsetDateTime::parse(time, &Rfc3339).ok()?).whole_seconds();
    // The clocks of two machines differ.
    let secs = u64::try_from(secs).unwrap_or(0);
    Some(if secs >= 86_400 { format!("{}d", secs / 86_400) } else { Seconds(secs).to_string() })
}

/// Shows changes until a signal.
fn follow_all(session: &Session, args: &StatusArgs) -> Result<Ending, Failure> {
    let mut watch = CloneWatch::new(session, &session.scope(args.all_namespaces))?;
    session.watch_signals()?;
    let mut screen = if args.output.is_none() { Screen::on(io::stdout()) } else { None };
    let mut printed = BTreeMap::new();
    let mut has_changed = true;
    loop {
        if has_changed {
            let picked =
                pick_with_claims(&watch.data_volumes(), &watch.claims(), OPEN_MAX, args.recent.into());
            match &mut screen {
                Some(screen) if picked == Picked::default() => {
                    screen.draw(&[Line { text: nothing(session, args), state: None }]);
                }
                Some(screen) => screen.draw(&lines(&picked, args.all_namespaces)),
                None => print_changes(&mut printed, &picked, args)?,
            }
        }
        if let Some(ending) = session.signalled() {
            return Ok(ending);
        }
        has_changed = watch.wait()?;
    }
}

/// Prints a line, or a document, for each clone that changed.
fn print_changes(
    printed: &mut BTreeMap<(Key, &'static str), CloneSummary>,
    picked: &Picked,
    args: &StatusArgs,
) -> Result<(), Failure> {
    let now = OffsetDateTime::now_utc();
    for seen in picked.open.iter().chain(&picked.recent) {
        if printed.insert((seen.key(), seen.kind), seen.clone()).as_ref() == Some(seen) {
            continue;
        }
        match args.output {
            Some(output) => print_next(output, seen)?,
            None => print_line(&cells(seen, args.all_namespaces, now).join("   ")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_controller::summary::pick::pick;
    use serde_json::json;

    fn clone(name: &str, phase: &str) -> DataVolume {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": name },
            "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } } },
            "status": { "phase": phase, "progress": "12.34%" },
        }))
        .unwrap()
    }

    #[test]
    fn the_table_has_a_heading_and_a_line_for_each_clone() {
        let picked = pick(&[clone("a", "CloneScheduled"), clone("b\u{7}", "Succeeded")], 10, 10);
        let text: Vec<String> = lines(&picked, false).into_iter().map(|line| line.text).collect();
        assert!(text[0].starts_with("NAME   PHASE"), "{text:?}");
        assert_eq!(text[1], "a      CloneScheduled   [==>                     ]  12.34 %");
        assert!(text[2].starts_with("b      Succeeded"), "{text:?}");
        assert!(lines(&picked, true)[1].text.starts_with("n           a"));
    }

    #[test]
    fn ages_are_short() {
        let now = OffsetDateTime::parse("2026-01-03T00:00:00Z", &Rfc3339).unwrap();
        assert_eq!(ago("2026-01-02T23:58:57Z", now).as_deref(), Some("1m03s"));
        assert_eq!(ago("2026-01-01T00:00:00Z", now).as_deref(), Some("2d"));
        assert_eq!(ago("2026-01-04T00:00:00Z", now).as_deref(), Some("0s"));
        assert_eq!(ago("", now), None);
    }
}
