//! Reads CDI's objects.

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::api::listing;
use crate::objects::cluster_config::{CDI_CONFIG, Cdi, CdiConfig};
use crate::objects::{self, Kind};

/// The objects with settings of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterConfig {
    /// The CDIConfig; `None` without one.
    pub config: Option<CdiConfig>,
    /// The active object of kind CDI; `None` without one.
    pub cdi: Option<Cdi>,
    /// What could not be read, for people.
    pub problems: Vec<String>,
}

/// Reads the settings of the cluster. Kinds that are not defined, or that may not be read, count as missing. Fails if the
/// API server does not answer.
pub fn read(cluster: &dyn Cluster) -> Result<ClusterConfig, ApiError> {
    let mut found = ClusterConfig::default();
    let mut configs = Vec::new();
    list::<CdiConfig>(cluster, Kind::CdiConfig, &mut configs, &mut found.problems)?;
    found.config = configs.into_iter().find(|config| config.metadata.name == CDI_CONFIG);
    let mut cdis = Vec::new();
    list::<Cdi>(cluster, Kind::Cdi, &mut cdis, &mut found.problems)?;
    found.cdi = active(cdis, &mut found.problems);
    Ok(found)
}

fn list<T: serde::de::DeserializeOwned>(
    cluster: &dyn Cluster,
    kind: Kind,
    all: &mut Vec<T>,
    problems: &mut Vec<String>,
) -> Result<(), ApiError> {
    let listed = listing::list(cluster, kind, &ListParams::default(), |item| match objects::decode(&item) {
        Ok(object) => all.push(object),
        Err(e) => problems.push(format!("{} is ignored: {e}", kind.name())),
    });
    match listed {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) if e.is_forbidden() => {
            problems.push(format!("{} is ignored, because it cannot be read: {e}", kind.name()));
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// The only object of kind CDI, or the only one that CDI's operator has not refused.
fn active(mut cdis: Vec<Cdi>, problems: &mut Vec<String>) -> Option<Cdi> {
    if cdis.len() > 1 {
        cdis.retain(|cdi| cdi.status.phase != "Error");
    }
    match cdis.len() {
        0 | 1 => cdis.pop(),
        count => {
            problems.push(format!("CDI is ignored: there are {count} objects of this kind"));
            None
        }
    }
}
