//! `kubectl decant doctor`: what is wrong, why, and what to do.

mod block_devices;
mod certificates;
mod clones;
mod controller;
mod definitions;
mod rights;
mod storage;
mod webhook;

use std::io;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::ending::{Ending, Failure};
use crate::output::{is_colourful, plain, print, say};
use crate::session::Session;
use decant_controller::api::cluster::ApiError;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Good to know; not wrong, or not to be seen.
    Note,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    state: State,
    /// What was looked at.
    about: String,
    /// What was found.
    found: String,
    /// What to do about it; empty when nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
}

impl Check {
    fn ok(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { state: State::Ok, about: about.into(), found: found.into(), help: String::new() }
    }

    fn note(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::ok(about, found) }
    }

    fn fail(about: impl Into<String>, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Fail, help: help.into(), ..Self::ok(about, found) }
    }

    /// What could not be looked at: that alone is no illness, unless nobody answers at all.
    fn unseen(about: impl Into<String>, error: &ApiError) -> Self {
        if error.code == 403 || error.code == 401 {
            return Self::note(about, format!("cannot be looked at: {}", error.message));
        }
        Self::fail(about, error.to_string(), "look whether the API server is well")
    }

    /// The lines for people.
    fn lines(&self, colour: bool) -> Vec<String> {
        let (word, code) = match self.state {
            State::Ok => ("ok  ", 32),
            State::Note => ("note", 33),
            State::Fail => ("FAIL", 31),
        };
        let word = if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() };
        let mut lines = vec![format!("{word}  {}: {}", plain(&self.about), plain(&self.found))];
        if !self.help.is_empty() {
            lines.push(format!("      {}", plain(&self.help)));
        }
        lines
    }
}

/// What `-o` prints.
#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    checks: &'a [Check],
}

/// What checks need to know about the installation.
struct Installation<'a> {
    session: &'a Session,
    /// The controller's namespace.
    namespace: &'a str,
}

pub(super) fn run(session: &Session, args: &DoctorArgs) -> Result<Ending, Failure> {
    let installation = Installation { session, namespace: &args.controller_namespace };
    let mut printer =
        Printer { colour: is_colourful(&io::stdout()), aloud: args.output.is_none(), checks: Vec::new() };
    let lease = controller::Pulse::take(&installation)?;
    printer.add(definitions::check(&installation));
    let (checks, account) = controller::check(&installation);
    printer.add(checks);
    let has_webhook = webhook::is_installed(&installation);
    let webhook_account = has_webhook.then(|| {
        let (checks, own) = controller::check_webhook(&installation);
        printer.add(checks);
        own.unwrap_or_else(|| account.clone())
    });
    printer.add(rights::check(&installation, &account, webhook_account.as_deref()));
    printer.add(certificates::check(&installation, has_webhook));
    printer.add(webhook::check(&installation));
    printer.add(storage::check(&installation));
    printer.add(block_devices::check(&installation));
    printer.add(clones::check(&installation));
    // At the end: by now whoever holds the Lease has renewed it.
    printer.add(vec![lease.check(&installation)]);
    let healthy = printer.checks.iter().all(|check| check.state != State::Fail);
    if let Some(output) = args.output {
        print(output, &Report { healthy, checks: &printer.checks })?;
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}

/// Prints each check as soon as it is there.
struct Printer {
    colour: bool,
    aloud: bool,
    checks: Vec<Check>,
}

impl Printer {
    fn add(&mut self, checks: Vec<Check>) {
        if self.aloud {
            checks.iter().flat_map(|check| check.lines(self.colour)).for_each(|line| say(&line));
        }
        self.checks.extend(checks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_what_to_do() {
        let lines = Check::fail("lease", "nobody holds it", "start the controller").lines(false);
        assert_eq!(lines, ["FAIL  lease: nobody holds it", "      start the controller"]);
        assert_eq!(
            Check::ok("lease", "held by a\u{1b}").lines(true),
            ["\u{1b}[32mok  \u{1b}[0m  lease: held by a "]
        );
    }

    #[test]
    fn what_may_not_be_seen_is_no_failure() {
        let error = |code| ApiError { code, reason: String::new(), message: "m".to_owned() };
        assert_eq!(Check::unseen("x", &error(403)).state, State::Note);
        assert_eq!(Check::unseen("x", &error(500)).state, State::Fail);
    }
}
