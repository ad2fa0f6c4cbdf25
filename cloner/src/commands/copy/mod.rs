//! `cloner copy`: clones on this machine, directly or, with `--wire`, over the path between two pods.

pub mod new_directory;
pub mod plan;
pub mod screen;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;
use decant_shared::protocol::units::Bytes;

use crate::attributes::Kinds;
use crate::attributes::not_kept::NotKept;
use crate::commands::cli::{CopyArgs, LogFormat, Verify};
use crate::commands::copy::new_directory::{NewDirectory, mode_without_acl};
use crate::commands::copy::plan::CopyPlan;
use crate::commands::copy::screen::Screen;
use crate::commands::new_progress;
use crate::direct::{DirectClone, DirectSource};
use crate::error::{Error, Kind, Result};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::report::ticker::Ticker;
use crate::volume::destination::{Destination, KeepPartial};
use crate::volume::writer_lock::{Share, WriterLock};
use crate::writing::Writing;

/// Runs a copy. Prints progress, and one line at the end.
pub fn run(args: &CopyArgs, format: LogFormat, stop: &Stop) -> Result<()> {
    let make_plan = || CopyPlan::make(&args.source, &args.target, args.force);
    // Declared first, so that it is dropped last: the clean-up needs the lock, too.
    let claim;
    let again;
    let first = make_plan()?;
    let mut new_directory = match &first.new_directory {
        Some(like) if !first.final_path.exists() => Some(NewDirectory::make(&first.final_path, like)?),
        _ => None,
    };
    claim = claimed(&first)?;
    let plan = if new_directory.is_some() {
        &first
    } else {
        // Another process may have written there before the lock was taken.
        again = make_plan()?;
        if let Some(like) = &again.new_directory {
            new_directory = Some(NewDirectory::make(&again.final_path, like)?);
        }
        &again
    };
    if let Some(new_directory) = &mut new_directory {
        new_directory.mark()?;
    }
    let progress = new_progress();
    let screen = Screen::new(args.quiet, format);
    let started = Instant::now();
    let ticker = Ticker::start(Arc::clone(&progress), screen.interval(), screen.painter())?;
    let outcome = if args.wire {
        wire::transfer(args, plan, writing(args, plan), claim.clone(), &progress, stop)
    } else {
        direct(args, plan, &progress, &screen, stop)
    };
    ticker.finish();
    screen.clear();
    let not_kept = outcome?;
    let lost_above = match new_directory {
        Some(directory) => directory.complete(&args.source)?,
        None => Kinds::default(),
    };
    screen.report(&progress, started.elapsed(), &args.source, &plan.final_path);
    if let Some(not_kept) = not_kept {
        screen.warn(&format!("not kept: {not_kept}"));
    }
    if !lost_above.is_empty() {
        let mut not_kept = NotKept::default();
        not_kept.add(lost_above, || plan.final_path.as_os_str().as_encoded_bytes().to_vec());
        screen.warn(&format!("not kept: {not_kept}"));
    }
    Ok(())
}

/// Locks what the copy writes to. A device needs no lock: it is opened exclusively.
fn claimed(plan: &CopyPlan) -> Result<Option<Arc<WriterLock>>> {
    let Destination::Directory { path, .. } = &plan.destination else { return Ok(None) };
    let share = if plan.content == ContentType::Filesystem { Share::Whole } else { Share::Image };
    WriterLock::take(path, share).map(|claim| Some(Arc::new(claim)))
}

/// How the copy is written.
fn writing(args: &CopyArgs, plan: &CopyPlan) -> Writing {
    Writing {
        destination: plan.destination.clone(),
        preallocate: args.preallocate,
        image_mode: mode_without_acl(&args.source, plan.file_mode),
        grow_to_bytes: None,
        keep_partial: if args.wire { KeepPartial::Never } else { KeepPartial::AfterSignal },
        is_exact: true,
        is_made: plan.new_directory.is_some(),
        finishes_apart: false,
        shares: false,
        read_back: args.verify == Some(Verify::Readback),
        decompress_threads: args.tuning.threads(),
    }
}

/// Copies in this process. Returns a description of what could not be kept.
fn direct(
    args: &CopyArgs,
    plan: &CopyPlan,
    progress: &Progress,
    screen: &Screen,
    stop: &Stop,
) -> Result<Option<String>> {
    let source = DirectSource {
        path: args.source.clone(),
        content: plan.content,
        limiter: Arc::new(RateLimiter::new(args.limit)),
        restart: args.restart,
    };
    let clone = DirectClone::prepare(&source, &writing(args, plan), progress, stop)?;
    let kept_bytes = clone.kept_bytes();
    if kept_bytes > 0 {
        screen.note(&format!("resuming: the target already has the first {}", Bytes(kept_bytes)));
    }
    let can_resume = matches!(plan.destination, Destination::Directory { .. });
    let written = clone.run().map_err(|error| match error.kind() {
        Kind::Signal(_) if can_resume => resumable(error),
        _ => error,
    })?;
    Ok(Some(written.not_kept).filter(|lost| !lost.is_empty()).map(|lost| lost.to_string()))
}

fn resumable(error: Error) -> Error {
    error.followed_by("repeat the command to resume, or add --restart to start over")
}
