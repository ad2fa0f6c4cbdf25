//! `cloner source`: the source pod.

use std::sync::Arc;
use std::time::Instant;

use decant_shared::process::stop::Stop;

use crate::commands::cli::SourceArgs;
use crate::commands::environment::Environment;
use crate::commands::metrics_server::{self, SERVER_END};
use crate::commands::{new_progress, termination_message};
use crate::error::Result;
use crate::report::progress_log::{ProgressLog, summary};
use crate::report::ticker::{TICK, Ticker};
use crate::send;
use crate::send::source::Source;

/// Sends the volume that the flags and the environment describe.
pub fn run(args: &SourceArgs, environment: &Environment, stop: &Stop) -> Result<()> {
    termination_message::on_failure(&args.pod.termination_log, || {
        let source = Source::configure(args, environment)?;
        let progress = new_progress();
        let metrics = metrics_server::start(args.metrics_port, environment, &progress, &source.limiter)?;
        log::info!("sending {} as {} to {}", source.path.display(), source.content, source.url);
        let mut progress_log = ProgressLog::default();
        let ticker = Ticker::start(Arc::clone(&progress), TICK, move |progress| {
            if let Some(sentence) = progress_log.sentence(progress, Instant::now()) {
                log::info!("{sentence}");
            }
        })?;
        let started = Instant::now();
        let outcome = send::send(&source, &progress, stop);
        ticker.finish();
        let digest = progress.digest();
        if outcome.is_ok() {
            log::info!("clone complete: {}", summary(&progress, started.elapsed()));
            log::info!("digest {}", digest.as_deref().unwrap_or_default());
        }
        if let Ok(Some(not_kept)) = &outcome {
            log::warn!("the target could not keep everything; not kept: {not_kept}");
        }
        metrics.shut_down(SERVER_END);
        let not_kept = outcome?;
        let message =
            termination_message::of_source(source.preallocation, digest.as_deref(), not_kept.as_deref());
        termination_message::leave(&args.pod.termination_log, &message);
        Ok(())
    })
}
