//! Tests against an API server without nodes: only the test acts on the objects. `scripts/on_cluster.sh` starts
//! one and names it with DECANT_API_KUBECONFIG. Without it they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "figures")]

mod budget;
mod calls;
mod cuts;
mod dashboard;
mod kubelet;
mod leases;
mod plugin;
mod pod_proxy;
mod reach;
mod refusals;
mod relay;
mod sandbox;
mod status_page;
mod watches;
