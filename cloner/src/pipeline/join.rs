//! Joins the threads of one clone and finds the cause of a failure.

use std::io;
use std::thread::ScopedJoinHandle;

use crate::error::{Error, Kind, Result};

/// Joins every thread that was started and returns the failures. A panic ends the process (see `panics` in
/// decant-shared). In tests a panic becomes a failure like any other.
pub fn join(threads: Vec<io::Result<ScopedJoinHandle<'_, Result<()>>>>) -> Vec<Error> {
    let mut failures = Vec::new();
    for thread in threads {
        let result = match thread {
            Ok(thread) => {
                let name = thread.thread().name().unwrap_or("a thread").to_owned();
                thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Failed, format!("{name} panicked"))))
            }
            Err(cause) => Err(Error::io(Kind::Failed, "cannot start a thread", cause)),
        };
        failures.extend(result.err());
    }
    failures
}

/// The outcome of a clone: `main` is the result of the stage that talks to the peer, `others` are the failures of the
/// other stages. If the main stage succeeded, a stage that failed only because its neighbour had ended does not count.
pub fn first_cause<T>(main: Result<T>, others: Vec<Error>) -> Result<T> {
    for error in &others {
        log::debug!("a stage ended with: {error}");
    }
    match main {
        Ok(value) => match others.into_iter().find(|error| error.kind() != Kind::Neighbour) {
            Some(error) => Err(error),
            None => Ok(value),
        },
        Err(error) => Err(Error::first_cause(error, others)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_reader_is_reported_and_not_the_sender_that_noticed() {
        let sender = Err::<(), _>(Error::neighbour("compressor"));
        let others = vec![Error::new(Kind::Source, "cannot read /data/x"), Error::neighbour("sender")];
        assert_eq!(first_cause(sender, others).unwrap_err().to_string(), "cannot read /data/x");
    }

    #[test]
    fn a_stage_cut_off_by_an_early_success_is_no_failure() {
        assert!(first_cause(Ok(()), vec![Error::neighbour("sender")]).is_ok());
    }
}
