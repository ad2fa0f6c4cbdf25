//! The follower: asks the target how far it is, so that progress is what survives and not what was sent.

use std::time::Duration;

use decant_shared::progress::{Phase, Progress};
use decant_shared::session::Session;
use decant_shared::stop::Stop;

use super::{Source, ask};

/// As often as the ticker looks.
const EVERY: Duration = Duration::from_secs(1);

/// As often as a bar is drawn.
const NEAR: Duration = Duration::from_millis(100);

/// Asks until `ended`. No answer is no news: the upload itself finds out what is wrong.
pub fn run(source: &Source, progress: &Progress, ended: &Stop) {
    let every = if source.near.is_some() { NEAR } else { EVERY };
    while ended.sleep(every) {
        let session = match &source.near {
            Some(target) => Ok(Some(Session::of(target))),
            None => ask::session(source, ended),
        };
        match session {
            Ok(Some(session)) => note(session, progress),
            Ok(None) => {}
            Err(error) => log::debug!("the target does not say how far it is: {error}"),
        }
    }
}

fn note(session: Session, progress: &Progress) {
    if matches!(session.phase, Phase::Copy | Phase::Sync | Phase::Verify) {
        progress.set_durable_bytes(session.durable_bytes);
    }
    if session.phase == Phase::Verify && progress.phase() == Phase::Sync {
        progress.enter(Phase::Verify);
    }
}
