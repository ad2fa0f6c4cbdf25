//! `kubectl decant cleanup`: deletes what clones left behind, after a question.

use std::io::{self, BufRead, Write};

use crate::args::CleanupArgs;
use crate::ending::{Ending, Failure};
use crate::leftovers::{Leftover, find};
use crate::output::{complain, plain, print, say, table};
use crate::session::Session;
use decant_controller::api::cluster::{ApiError, Cluster};
use decant_controller::objects::Kind;

pub(super) fn run(session: &Session, args: &CleanupArgs) -> Result<Ending, Failure> {
    let found = find(session, args.all_namespaces, args.finished)?;
    for what in &found.not_looked_at {
        complain(&format!("not looked at: {}", plain(what)));
    }
    if let Some(output) = args.output {
        print(output, &found)?;
    } else if found.leftovers.is_empty() {
        complain("Nothing is left behind.");
    } else {
        show(&found.leftovers);
    }
    if found.leftovers.is_empty() || args.dry_run || args.output.is_some() && !args.yes {
        return Ok(Ending::Done);
    }
    if !args.yes && !is_wanted(found.leftovers.len())? {
        complain("Nothing was deleted.");
        return Ok(Ending::Done);
    }
    delete(session, &found.leftovers, args.output.is_none())
}

fn show(leftovers: &[Leftover]) {
    let heading = ["KIND", "NAMESPACE", "NAME", "WHY"].map(str::to_owned).to_vec();
    let rows = leftovers
        .iter()
        .map(|left| [left.kind.name(), &left.namespace, &left.name, &left.why].map(plain).to_vec());
    for line in table(&[vec![heading], rows.collect()].concat()) {
        say(&line);
    }
}

/// Asks on standard error; only `y` and `yes` mean yes.
fn is_wanted(count: usize) -> Result<bool, Failure> {
    let objects = if count == 1 { "this object" } else { "these objects" };
    let _ = write!(io::stderr(), "Delete {objects}? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if !matches!(read, Ok(1..)) {
        complain("");
        return Err(Failure::usage(
            "nobody answers; use --yes to delete without a question, or --dry-run to look",
        ));
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Deletes all of them. What one of them refuses is told, and the others still go.
fn delete(session: &Session, leftovers: &[Leftover], aloud: bool) -> Result<Ending, Failure> {
    let mut failures = 0;
    for left in leftovers {
        let name = format!("{} {}", left.kind.name(), left.key());
        match delete_one(session, left) {
            Ok(()) if aloud => say(&format!("{name} deleted")),
            Ok(()) => {}
            Err(e) => {
                failures += 1;
                complain(&format!("{name}: {}", Failure::from(e)));
            }
        }
    }
    match failures {
        0 => Ok(Ending::Done),
        _ => Err(Failure::new(
            Ending::Failed,
            format!("{failures} of {} objects could not be deleted", leftovers.len()),
        )),
    }
}

/// A PVC, and all that is in it, would go with its DataVolume.
fn delete_one(session: &Session, left: &Leftover) -> Result<(), ApiError> {
    if left.kind == Kind::DataVolume {
        session.cluster.delete_alone(left.kind, &left.key(), &left.uid)
    } else {
        session.cluster.delete(left.kind, &left.key(), &left.uid, None)
    }
}
