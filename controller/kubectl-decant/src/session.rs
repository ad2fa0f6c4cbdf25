//! One run of the plugin: its cluster, its namespace, and the signals that end it.

use std::time::Duration;

use decant_shared::process::stop::{Stop, StopReason};
use serde::de::DeserializeOwned;

use crate::args::ClusterArgs;
use crate::ending::{Ending, Failure};
use decant_controller::api::client::{KubeCluster, Reached};
use decant_controller::api::cluster::{Cluster, ListParams};
use decant_controller::api::kubeconfig::Reach;
use decant_controller::api::listing;
use decant_controller::objects;
use decant_controller::objects::Kind;

/// The user agent in the audit log of the API server.
const AGENT: &str = concat!("kubectl-decant/", env!("CARGO_PKG_VERSION"));
/// Objects in one page of a list.
const PAGE: u32 = 500;

pub(super) struct Session {
    pub(super) cluster: KubeCluster,
    /// The address of the cluster.
    pub(super) server: String,
    /// From `-n` or from the context.
    pub(super) namespace: String,
    /// Set by SIGINT and SIGTERM once [`Session::watch_signals`] was called.
    pub(super) stop: Stop,
}

impl Session {
    pub(super) fn open(place: &ClusterArgs) -> Result<Self, Failure> {
        let reach = Reach {
            kubeconfig: place.kubeconfig.clone(),
            context: place.context.clone(),
            call_limit: Some(place.request_timeout).filter(|limit| *limit > Duration::ZERO),
            agent: AGENT,
        };
        let Reached { cluster, server, namespace } = KubeCluster::reach(&reach).map_err(Failure::usage)?;
        let namespace = place.namespace.clone().unwrap_or(namespace);
        Ok(Self { cluster, server, namespace, stop: Stop::new() })
    }

    /// From now on, a signal ends only the waits of this process, not the process itself.
    pub(super) fn watch_signals(&self) -> Result<(), Failure> {
        decant_shared::process::signal::watch(&self.stop)
            .map_err(|e| Failure::new(Ending::Failed, format!("cannot handle signals: {e}")))
    }

    /// The exit code for a signal that was received.
    pub(super) fn signalled(&self) -> Option<Ending> {
        Some(match self.stop.reason()? {
            StopReason::Signal(15) => Ending::Terminated,
            _ => Ending::Interrupted,
        })
    }

    /// Selects the namespace of the session, or all namespaces.
    pub(super) fn scope(&self, all: bool) -> ListParams {
        ListParams { namespace: (!all).then(|| self.namespace.clone()), limit: PAGE, ..ListParams::default() }
    }

    /// All objects that `params` selects. Objects that cannot be decoded are left out.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        kind: Kind,
        params: &ListParams,
    ) -> Result<Vec<T>, Failure> {
        Ok(list(&self.cluster, kind, params)?.0)
    }
}

/// All pages of a list, and the version from which to watch.
pub(super) fn list<T: DeserializeOwned>(
    cluster: &dyn Cluster,
    kind: Kind,
    params: &ListParams,
) -> Result<(Vec<T>, String), decant_controller::api::cluster::ApiError> {
    let mut all = Vec::new();
    let version = listing::list(cluster, kind, params, |item| all.extend(objects::decode(item)))?;
    Ok((all, version))
}
