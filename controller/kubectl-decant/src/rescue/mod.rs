//! `kubectl decant rescue`: copies a DataVolume of CDI that is stuck in a clone by a CSI driver or by a snapshot, under the
//! same name.
//!
//! The DataVolume cannot be changed, so it is deleted and created again. Both objects are written to files first; a
//! rescue that was interrupted continues from these files.

mod diagnosis;
mod files;
mod found;
mod plan;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::args::RescueArgs;
use crate::beside_cdi;
use crate::ending::{Ending, Failure};
use crate::output::{plain, print_error, print_line};
use crate::rescue::files::Files;
use crate::rescue::found::StuckDataVolume;
use crate::rescue::plan::{Plan, Server};
use crate::session::Session;
use decant_controller::api::cluster::{ApiError, Cluster, Part};
use decant_controller::objects;
use decant_controller::objects::{DataVolume, Key, Kind, Meta};

/// How often deletions are checked.
const POLL: Duration = Duration::from_secs(1);

pub(super) fn run(session: &Session, args: &RescueArgs) -> Result<Ending, Failure> {
    let is_beside = beside_cdi::is_beside_cdi(session, &args.controller_namespace)?.ok_or_else(|| {
        Failure::new(
            Ending::Missing,
            format!(
                "no Deployment of the controller in namespace {}: name its namespace with --controller-namespace",
                args.controller_namespace
            ),
        )
    })?;
    let rescue = Rescue {
        cluster: &session.cluster,
        key: Key::new(&session.namespace, &args.name),
        server: if is_beside { Server::Cdi } else { Server::Decant },
        directory: args.directory.clone(),
        dry_run: args.dry_run,
        timeout: args.timeout,
        poll: POLL,
    };
    rescue.run(|| if args.yes { Ok(true) } else { is_wanted() })
}

/// Asks for confirmation on standard error; only `y` and `yes` mean yes. Without a terminal, nothing is asked.
fn is_wanted() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "standard input is not a terminal, so there is no confirmation; use --yes to rescue without a question",
        ));
    }
    let _ = write!(io::stderr(), "Continue? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// One rescue.
struct Rescue<'c> {
    cluster: &'c dyn Cluster,
    /// The DataVolume.
    key: Key,
    /// The controller that serves DataVolumes.
    server: Server,
    /// Where the files are.
    directory: PathBuf,
    dry_run: bool,
    /// How long to wait for deletions.
    timeout: Duration,
    poll: Duration,
}

impl Rescue<'_> {
    fn run(&self, confirm: impl Fn() -> Result<bool, Failure>) -> Result<Ending, Failure> {
        let files = Files::new(&self.directory, &self.key);
        let current = self.current()?;
        let earlier = files.read()?;
        // A rescue that was interrupted after the deletion.
        let is_under_way =
            |meta: &Meta| meta.is_deleting() && earlier.as_ref().is_some_and(|plan| plan.is_for(meta));
        match (&current, &earlier) {
            (None, None) => {
                return Err(Failure::new(Ending::Missing, format!("DataVolume {} does not exist", self.key)));
            }
            (None, Some(plan)) => {
                print_line(&format!(
                    "DataVolume {} was deleted by an earlier rescue; it is created again.",
                    self.key
                ));
                return self.finish(plan);
            }
            (Some(dv), Some(plan)) if is_under_way(&dv.metadata) => {
                print_line(&format!("DataVolume {} is being deleted by an earlier rescue.", self.key));
                return self.finish(plan);
            }
            (Some(dv), Some(plan))
                if !plan.is_for(&dv.metadata) && !diagnosis::is_stuck(&dv.status.phase.to_string()) =>
            {
                print_line(&format!(
                    "DataVolume {} was created again; its phase is {:?}. `kubectl decant status` shows its clone.",
                    self.key,
                    dv.status.phase.to_string()
                ));
                return Ok(Ending::Done);
            }
            _ => {}
        }
        let found = StuckDataVolume::read(self.cluster, &self.key)?;
        for line in diagnosis::explain(self.cluster, &found) {
            print_line(&plain(&line));
        }
        found.check(self.cluster)?;
        let plan = Plan::new(self.cluster, &found, self.server)?;
        print_line("");
        for line in plan.describe(&files) {
            print_line(&plain(&line));
        }
        if self.dry_run {
            return Ok(Ending::Done);
        }
        if !confirm()? {
            print_error("Nothing was changed.");
            return Ok(Ending::Done);
        }
        files.write(&plan)?;
        self.make_clone_source(&plan)?;
        self.change_template(&plan)?;
        self.remove_temporary(&plan)?;
        self.cluster.delete(Kind::DataVolume, &self.key, &found.data_volume.metadata.uid, None)?;
        print_line(&format!("datavolume.cdi.kubevirt.io/{} deleted", self.key.name));
        self.finish(&plan)
    }

    fn current(&self) -> Result<Option<DataVolume>, Failure> {
        match self.cluster.get(Kind::DataVolume, &self.key) {
            Ok(object) => Ok(Some(objects::decode(object).map_err(|e| {
                Failure::new(Ending::Failed, format!("DataVolume {} cannot be read: {e}", self.key))
            })?)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Everything after the deletion. It can be repeated.
    fn finish(&self, plan: &Plan) -> Result<Ending, Failure> {
        self.wait_until_gone(plan)?;
        let meta = self.make_data_volume(plan)?;
        if let Some(source) = &plan.clone_source {
            let key = Key::new(&self.key.namespace, objects_name(source));
            let owner = json!({
                "apiVersion": Kind::DataVolume.api_version(), "kind": Kind::DataVolume.name(), "name": meta.name,
                "uid": meta.uid,
            });
            let patch = json!({ "metadata": { "ownerReferences": [owner] } });
            if let Err(e) = self.cluster.patch(Kind::CloneSource, &key, Part::Whole, &patch) {
                print_error(&format!("Note: CloneSource {key} stays when the DataVolume is deleted: {e}"));
            }
        }
        print_line(&format!("`kubectl decant status` shows the copy into {}.", self.key));
        Ok(Ending::Done)
    }

    fn make_clone_source(&self, plan: &Plan) -> Result<(), Failure> {
        let Some(source) = &plan.clone_source else { return Ok(()) };
        match self.cluster.create(Kind::CloneSource, source) {
            Ok(_) => print_line(&format!("clonesource.decant.dev/{} created", objects_name(source))),
            // An earlier attempt created it; its source was compared.
            Err(e) if e.already_exists() => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Changes the entry in the VirtualMachine, whose controller then creates the DataVolume.
    fn change_template(&self, plan: &Plan) -> Result<(), Failure> {
        let Some(machine) = &plan.machine else { return Ok(()) };
        let patch = json!({
            "metadata": { "resourceVersion": machine.resource_version },
            "spec": { "dataVolumeTemplates": machine.templates },
        });
        let key = Key::new(&self.key.namespace, &machine.name);
        self.cluster.patch(Kind::VirtualMachine, &key, Part::Whole, &patch)?;
        print_line(&format!("virtualmachine.kubevirt.io/{} changed", machine.name));
        Ok(())
    }

    /// Removes CDI's temporary objects, which no other controller removes if CDI is gone.
    fn remove_temporary(&self, plan: &Plan) -> Result<(), Failure> {
        for (kind, key) in &plan.temporary {
            match self.cluster.get(*kind, key) {
                Ok(object) => self.cluster.delete(*kind, key, &found::meta(&object).uid, None)?,
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Waits until the earlier DataVolume and its PVC are gone: the name of the PVC has to be free.
    fn wait_until_gone(&self, plan: &Plan) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let left = self.left(plan)?;
            let Some(left) = left else { return Ok(()) };
            if begin.elapsed() >= self.timeout {
                return Err(Failure::new(
                    Ending::TimedOut,
                    format!("{left}\nRun the same command again to continue: {}", self.key),
                ));
            }
            std::thread::sleep(self.poll);
        }
    }

    /// What of the earlier objects is left, with the reason.
    fn left(&self, plan: &Plan) -> Result<Option<String>, ApiError> {
        for (kind, uid) in
            [(Kind::DataVolume, &plan.data_volume_uid), (Kind::PersistentVolumeClaim, &plan.claim_uid)]
        {
            let meta = match self.cluster.get(kind, &self.key) {
                Ok(object) => found::meta(&object),
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            if meta.uid != *uid {
                continue;
            }
            let why = match meta.finalizers.as_slice() {
                _ if !meta.is_deleting() => "is not being deleted yet".to_owned(),
                [] => "is still being deleted".to_owned(),
                all => format!("is still being deleted: its finalizers are {}", all.join(", ")),
            };
            return Ok(Some(format!("{} {} {why}", kind.name(), self.key)));
        }
        Ok(None)
    }

    fn make_data_volume(&self, plan: &Plan) -> Result<Meta, Failure> {
        let begin = Instant::now();
        loop {
            match self.cluster.create(Kind::DataVolume, &plan.data_volume) {
                Ok(object) => {
                    print_line(&format!("datavolume.cdi.kubevirt.io/{} created", self.key.name));
                    return Ok(found::meta(&object));
                }
                Err(e) if e.already_exists() => {}
                // CDI's webhook still sees the earlier PVC.
                Err(e) if e.message.contains("already exists") && begin.elapsed() < self.timeout => {}
                Err(e) => return Err(e.into()),
            }
            if let Ok(object) = self.cluster.get(Kind::DataVolume, &self.key) {
                let meta = found::meta(&object);
                if !meta.is_deleting() && meta.uid != plan.data_volume_uid {
                    return self.created_by_other(plan, &object.value(), meta);
                }
            }
            if begin.elapsed() >= self.timeout {
                let why = "the DataVolume cannot be created, because its name or that of its PVC is taken";
                return Err(Failure::new(Ending::TimedOut, format!("{why}: {}", self.key)));
            }
            std::thread::sleep(self.poll);
        }
    }

    /// A controller created the DataVolume first: that of a VirtualMachine, or an earlier rescue.
    fn created_by_other(&self, plan: &Plan, object: &serde_json::Value, meta: Meta) -> Result<Meta, Failure> {
        if plan.is_satisfied_by(object) {
            print_line(&format!("datavolume.cdi.kubevirt.io/{} was created by its owner", self.key.name));
            return Ok(meta);
        }
        Err(Failure::new(
            Ending::Failed,
            format!(
                "DataVolume {} was created again with its earlier source, by another controller. Change what creates it, delete \
                 the DataVolume, and run the same command again",
                self.key
            ),
        ))
    }
}

/// The name in the metadata of an object.
fn objects_name(object: &serde_json::Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
