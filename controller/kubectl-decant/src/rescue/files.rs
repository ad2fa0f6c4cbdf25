//! The files of a rescue: the DataVolume as it was, and the plan. They are YAML, so that `kubectl create -f` takes them as
//! well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ending::{Ending, Failure};
use crate::rescue::plan::Plan;
use decant_controller::objects::Key;

/// Where the files of one DataVolume are.
pub(super) struct Files {
    /// The DataVolume as it was.
    pub(super) original: PathBuf,
    /// What is created instead.
    pub(super) plan: PathBuf,
}

impl Files {
    pub(super) fn new(directory: &Path, key: &Key) -> Self {
        let Key { namespace, name } = key;
        let path = |what: &str| directory.join(format!("decant-rescue-{namespace}-{name}-{what}.yaml"));
        Self { original: path("original"), plan: path("new") }
    }

    /// Writes both files, completely or not at all.
    pub(super) fn write(&self, plan: &Plan) -> Result<(), Failure> {
        write(&self.original, &plan.original)?;
        write(&self.plan, &plan.to_value())
    }

    /// The plan of an earlier rescue of a DataVolume with this name.
    pub(super) fn read(&self) -> Result<Option<Plan>, Failure> {
        let (Some(original), Some(plan)) = (read(&self.original)?, read(&self.plan)?) else {
            return Ok(None);
        };
        match Plan::from_values(original, &plan) {
            Some(plan) => Ok(Some(plan)),
            None => Err(damaged(&self.plan, "it is not the plan of a rescue")),
        }
    }
}

fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    let failed = |e: String| {
        Failure::new(Ending::Failed, format!("cannot write {}: {e}; nothing was changed", path.display()))
    };
    let text = serde_saphyr::to_string(value).map_err(|e| failed(e.to_string()))?;
    let part = path.with_extension("yaml.part");
    let written = fs::File::create(&part).and_then(|mut file| {
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, path)).map_err(|e| failed(e.to_string()))
}

fn read(path: &Path) -> Result<Option<Value>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(damaged(path, &e.to_string())),
    };
    serde_saphyr::from_str(&text).map(Some).map_err(|e| damaged(path, &e.to_string()))
}

fn damaged(path: &Path, why: &str) -> Failure {
    let text =
        format!("cannot read {} of an earlier rescue: {why}; move it away to start over", path.display());
    Failure::new(Ending::Failed, text)
}
