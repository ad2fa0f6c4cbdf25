//! The controller of Decant: watches DataVolumes, makes the pods that clone, tells how far they are.
//!
//! `observe -> decide -> act`: watch threads keep typed stores, a worker takes a key, looks at everything that
//! belongs to it (`observe`), decides without side effects (`decide`) and carries the decision out (`act`).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod act;
mod adoption;
pub mod annotations;
mod answers;
pub mod args;
pub mod backoff;
pub mod board;
pub mod budget;
pub mod calls;
pub mod cluster;
pub mod crds;
pub mod decide;
pub mod events;
pub mod fit;
pub mod kube;
mod lean;
pub mod lease;
pub mod line;
pub mod listing;
pub mod made;
pub mod names;
pub mod observe;
pub mod observed;
pub mod outcome;
pub mod pages;
pub mod permission;
pub mod pki;
pub mod plugin;
pub mod pods;
pub mod policy;
pub mod poll;
pub mod probes;
pub mod queue;
pub mod reach;
pub mod request;
mod requests;
pub mod reserved;
pub mod resource;
pub mod run;
pub mod scrape;
pub mod standing;
pub mod status;
pub mod store;
pub mod termination;
pub mod token;
pub mod trouble;
pub mod unreadable;
pub mod watch;
pub mod webhook;
pub mod worker;
