//! The follower: asks the target how far it is, so that progress is what survives and not what was sent.

use std::time::Duration;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::session::SessionStatus;

use crate::send::query;
use crate::send::source::Source;

/// As often as the ticker looks.
const EVERY: Duration = Duration::from_secs(1);

/// As often as a bar is drawn.
const NEAR: Duration = Duration::from_millis(100);

/// Asks until `ended`. No answer is no news: the upload itself finds out what is wrong.
pub fn run(source: &Source, progress: &Progress, ended: &Stop) {
    let every = if source.near.is_some() { NEAR } else { EVERY };
    while ended.sleep(every) {
        let session = match &source.near {
            Some(target) => Ok(Some(SessionStatus::of(target))),
            None => query::session(source, ended),
        };
        match session {
            Ok(Some(session)) => note(session, progress),
            Ok(None) => {}
            Err(error) => log::debug!("the target does not say how far it is: {error}"),
        }
    }
}

fn note(session: SessionStatus, progress: &Progress) {
    // A target cannot have more than there is.
    let most_bytes = progress.total_bytes().unwrap_or_else(|| progress.read_bytes());
    if session.durable_bytes > most_bytes {
        log::debug!("the target says that it has {} of {most_bytes} bytes", session.durable_bytes);
        return;
    }
    if matches!(session.phase, Phase::Copy | Phase::Sync | Phase::Verify) {
        progress.set_durable_bytes(session.durable_bytes);
    }
    if session.phase == Phase::Verify && progress.phase() == Phase::Sync {
        progress.enter(Phase::Verify);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_has_more_than_there_is_is_not_believed() {
        let progress = Progress::new(0);
        progress.set_total_bytes(100);
        for (durable_bytes, wanted) in [(50, 50), (101, 50), (u64::MAX, 50), (100, 100)] {
            note(SessionStatus { phase: Phase::Copy, durable_bytes }, &progress);
            assert_eq!(progress.durable_bytes(), Some(wanted), "{durable_bytes}");
        }
    }

    #[test]
    fn where_the_length_is_not_known_what_was_read_is_the_limit() {
        let progress = Progress::new(0);
        progress.add_read_bytes(10);
        note(SessionStatus { phase: Phase::Copy, durable_bytes: 11 }, &progress);
        assert_eq!(progress.durable_bytes(), None);
    }
}
