//! `kubectl decant doctor`: finds problems of the installation and of clones, with their reasons and what to do.

mod beside;
mod block_devices;
mod certificates;
mod clones;
mod controller;
mod definitions;
mod populators;
mod rights;
mod settings;
mod storage;
mod webhook;

use std::io;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::beside_cdi;
use crate::ending::{Ending, Failure};
use crate::output::{is_colourful, plain, print, print_line};
use crate::session::Session;
use decant_controller::api::cluster::ApiError;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Information: not a failure, or the user may not read it.
    Note,
    Fail,
}

/// One check with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    state: State,
    /// What was checked.
    about: String,
    /// What was found.
    found: String,
    /// What to do; empty if there is nothing to do.
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

    /// A check that could not run. A missing right is not a failure; any other error is.
    fn unreadable(about: impl Into<String>, error: &ApiError) -> Self {
        if error.code == 403 || error.code == 401 {
            return Self::note(about, format!("cannot be checked: {}", error.message));
        }
        Self::fail(about, error.to_string(), "check the health of the API server")
    }

    fn lines(&self, has_colours: bool) -> Vec<String> {
        let (label, colour) = match self.state {
            State::Ok => ("ok  ", 32),
            State::Note => ("note", 33),
            State::Fail => ("FAIL", 31),
        };
        let label = if has_colours { format!("\u{1b}[{colour}m{label}\u{1b}[0m") } else { label.to_owned() };
        let mut lines = vec![format!("{label}  {}: {}", plain(&self.about), plain(&self.found))];
        if !self.help.is_empty() {
            lines.push(format!("      {}", plain(&self.help)));
        }
        lines
    }
}

/// The document that `-o` prints.
#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    checks: &'a [Check],
}

/// The installation to check.
struct Installation<'a> {
    session: &'a Session,
    /// The namespace of the controller.
    namespace: &'a str,
    /// Whether the controller runs with `--beside-cdi`: DataVolumes and their webhook are CDI's.
    is_beside_cdi: bool,
}

pub(super) fn run(session: &Session, args: &DoctorArgs) -> Result<Ending, Failure> {
    let namespace = &args.controller_namespace;
    // The check of the Deployment reports why it cannot be read.
    let is_beside_cdi = beside_cdi::is_beside_cdi(session, namespace).ok().flatten().unwrap_or_default();
    let installation = Installation { session, namespace, is_beside_cdi };
    let mut printer =
        Printer { colour: is_colourful(&io::stdout()), prints: args.output.is_none(), checks: Vec::new() };
    let lease = controller::LeaseProbe::start(&installation)?;
    printer.add(beside::check(&installation));
    printer.add(definitions::check(&installation));
    let controller = controller::check(&installation);
    printer.add(controller.checks);
    // Beside CDI, webhooks with these names are CDI's.
    let has_webhook = !is_beside_cdi && webhook::is_installed(&installation);
    let webhook_account = has_webhook.then(|| {
        let webhook = controller::check_webhook(&installation, &controller.account);
        printer.add(webhook.checks);
        webhook.account
    });
    printer.add(rights::check(&installation, &controller.account, webhook_account.as_deref()));
    printer.add(certificates::check(&installation, has_webhook));
    if !is_beside_cdi {
        printer.add(webhook::check(&installation));
    }
    printer.add(settings::check(&installation));
    printer.add(storage::check(&installation));
    printer.add(populators::check(&installation));
    printer.add(block_devices::check(&installation));
    printer.add(clones::check(&installation));
    // Last, because the holder of the Lease has had time to renew it.
    printer.add(vec![lease.check(&installation)]);
    let healthy = printer.checks.iter().all(|check| check.state != State::Fail);
    if let Some(output) = args.output {
        print(output, &Report { healthy, checks: &printer.checks })?;
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}

/// Prints each check as soon as it has run.
struct Printer {
    colour: bool,
    prints: bool,
    checks: Vec<Check>,
}

impl Printer {
    fn add(&mut self, checks: Vec<Check>) {
        if self.prints {
            checks.iter().flat_map(|check| check.lines(self.colour)).for_each(|line| print_line(&line));
        }
        self.checks.extend(checks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_reason_and_a_hint() {
        let lines = Check::fail("lease", "it has no holder", "start the controller").lines(false);
        assert_eq!(lines, ["FAIL  lease: it has no holder", "      start the controller"]);
        assert_eq!(
            Check::ok("lease", "held by a\u{1b}").lines(true),
            ["\u{1b}[32mok  \u{1b}[0m  lease: held by a "]
        );
    }

    #[test]
    fn a_missing_right_is_not_a_failure() {
        let error = |code| ApiError { code, reason: String::new(), message: "m".to_owned() };
        assert_eq!(Check::unreadable("x", &error(403)).state, State::Note);
        assert_eq!(Check::unreadable("x", &error(500)).state, State::Fail);
    }
}
