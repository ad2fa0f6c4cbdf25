//! `cloner direct`: the pod of a direct clone, which mounts the source and the target.

use std::sync::Arc;
use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Progress;

use crate::commands::cli::DirectArgs;
use crate::commands::environment::Environment;
use crate::commands::metrics_server::{self, SERVER_END};
use crate::commands::{new_progress, source_config, target_config, termination_message};
use crate::direct::{DirectClone, DirectSource};
use crate::error::Result;
use crate::pipeline::rate_limiter::RateLimiter;
use crate::report::progress_log::{ProgressLog, summary};
use crate::report::ticker::{TICK, Ticker};
use crate::volume::destination::Destination;
use crate::volume::writer_lock::{Share, WriterLock};
use crate::writing::{Writing, WrittenClone};

/// Clones the volume that the flags and the environment describe: the source as in a source pod, the target as in a
/// target pod. A clone that was interrupted resumes.
pub fn run(args: &DirectArgs, environment: &Environment, stop: &Stop) -> Result<()> {
    termination_message::on_failure(&args.pod.termination_log, || {
        let limiter = Arc::new(RateLimiter::new(args.limit));
        let source = DirectSource {
            path: source_config::path(args.source.as_deref(), environment)?,
            content: source_config::content(args.content_type.as_deref(), environment)?,
            limiter: Arc::clone(&limiter),
            restart: false,
        };
        let threads = args.pod.tuning.threads();
        let writing = target_config::writing(args.target.as_deref(), args.verify, threads, environment)?;
        let progress = new_progress();
        let metrics = metrics_server::start(args.metrics_port, environment, &progress, &limiter)?;
        log::info!("cloning {} as {} directly to {}", source.path.display(), source.content, shown(&writing));
        let mut progress_log = ProgressLog::default();
        let ticker = Ticker::start(Arc::clone(&progress), TICK, move |progress| {
            if let Some(sentence) = progress_log.sentence(progress, Instant::now()) {
                log::info!("{sentence}");
            }
        })?;
        let started = Instant::now();
        let outcome = clone(&source, &writing, &progress, stop);
        ticker.finish();
        if let Ok(written) = &outcome {
            log::info!("clone complete: {}; it is on disk", summary(&progress, started.elapsed()));
            log::info!("digest {}", written.verification.content_digest);
            if !written.not_kept.is_empty() {
                log::warn!("the target could not keep everything; not kept: {}", written.not_kept);
            }
        }
        metrics.shut_down(SERVER_END);
        termination_message::leave(&args.pod.termination_log, &termination_message::of_target(&outcome?));
        Ok(())
    })
}

fn clone(source: &DirectSource, writing: &Writing, progress: &Progress, stop: &Stop) -> Result<WrittenClone> {
    let _claim = match &writing.destination {
        Destination::Directory { path, .. } => Some(WriterLock::take(path, Share::Whole)?),
        // A device is opened exclusively.
        Destination::Device(_) => None,
    };
    DirectClone::prepare(source, writing, progress, stop)?.run()
}

fn shown(writing: &Writing) -> String {
    let (Destination::Device(path) | Destination::Directory { path, .. }) = &writing.destination;
    path.display().to_string()
}
