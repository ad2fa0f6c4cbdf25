//! Acquires, renews and releases the Lease.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use decant_shared::process::stop::Stop;
use time::OffsetDateTime;

use crate::api::cluster::{ApiError, Cluster};
use crate::api::responses::unreadable;
use crate::leader::lease::{LeaseStep, RENEW_DEADLINE, RETRY_WAIT, Seen, decide_lease};
use crate::leader::record::{LEASE_DURATION, Lease, micro_time};
use crate::objects::{Key, Kind, Object};

/// A candidate for the Lease.
#[derive(Clone)]
pub struct Leader {
    cluster: Arc<dyn Cluster>,
    key: Key,
    me: String,
    holds: Arc<AtomicBool>,
}

impl Leader {
    /// `me` must be unique among running processes, such as the name of a pod.
    pub fn new(cluster: Arc<dyn Cluster>, key: Key, me: impl Into<String>) -> Self {
        Self { cluster, key, me: me.into(), holds: Arc::default() }
    }

    /// Whether this process is the leader now.
    pub fn is_leader(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// Waits until this process holds the Lease; `None` after a stop. Failures are logged and retried.
    pub fn acquire(&self, stop: &Stop) -> Option<Held> {
        let mut seen = Seen { version: String::new(), at: Instant::now() };
        while !stop.is_set() {
            let asked = Instant::now();
            match self.try_acquire(&mut seen) {
                Ok(Some(lease)) => {
                    self.holds.store(true, Ordering::Release);
                    log::info!("{} holds the lease {}", self.me, self.key);
                    return Some(Held { leader: self.clone(), lease, renewed: asked });
                }
                Ok(None) => {}
                // Another process was faster.
                Err(e) if e.is_conflict() || e.already_exists() => {}
                Err(e) => log::warn!("cannot acquire the lease {}: {e}", self.key),
            }
            stop.sleep(RETRY_WAIT);
        }
        None
    }

    fn try_acquire(&self, seen: &mut Seen) -> Result<Option<Lease>, ApiError> {
        let lease = match self.cluster.get(Kind::Lease, &self.key) {
            Ok(object) => Some(self.read(&object)?),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        };
        let version = lease.as_ref().map_or("", |lease| lease.version.as_str());
        let now = Instant::now();
        if seen.version != version {
            *seen = Seen { version: version.to_owned(), at: now };
        }
        match (decide_lease(lease.as_ref(), seen, &self.me, now), lease) {
            (LeaseStep::Wait, _) => Ok(None),
            (LeaseStep::Renew, Some(lease)) => self.write(&lease).map(Some),
            (_, previous) => self.write(&self.taken(previous)).map(Some),
        }
    }

    fn read(&self, object: &Object) -> Result<Lease, ApiError> {
        Lease::from_object(object).map_err(|e| unreadable(&format!("Lease {}", self.key), &e))
    }

    /// The Lease with this process as the holder, after `previous`.
    fn taken(&self, previous: Option<Lease>) -> Lease {
        let transitions = previous.as_ref().map_or(0, |lease| lease.transitions.saturating_add(1));
        Lease {
            holder: self.me.clone(),
            duration: LEASE_DURATION,
            transitions,
            acquired: micro_time(OffsetDateTime::now_utc()),
            version: previous.map(|lease| lease.version).unwrap_or_default(),
        }
    }

    /// Writes the Lease if it has not changed since it was read, and returns the new version.
    fn write(&self, lease: &Lease) -> Result<Lease, ApiError> {
        let object = lease.to_object(&self.key, OffsetDateTime::now_utc());
        let written = if lease.version.is_empty() {
            self.cluster.create(Kind::Lease, &object)?
        } else {
            self.cluster.replace(Kind::Lease, &self.key, &object)?
        };
        self.read(&written)
    }
}

/// The Lease while this process holds it.
pub struct Held {
    leader: Leader,
    lease: Lease,
    /// When the last successful renewal was requested: the Lease is valid at least from then on.
    renewed: Instant,
}

impl Held {
    /// Starts the thread `lease`, which renews until [`LeaseKeeper::release`]. `lost` is called once if another process
    /// holds the Lease, or if it could not be renewed within [`RENEW_DEADLINE`]: the process must stop acting
    /// immediately.
    pub fn keep(self, lost: impl FnOnce(String) + Send + 'static) -> io::Result<LeaseKeeper> {
        let end = Stop::new();
        let until = end.clone();
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || self.renew_until(&until, lost))?;
        Ok(LeaseKeeper { end, thread })
    }

    fn renew_until(mut self, end: &Stop, lost: impl FnOnce(String)) {
        while end.sleep(RETRY_WAIT) {
            if let Err(why) = self.renew() {
                self.leader.holds.store(false, Ordering::Release);
                lost(why);
                return;
            }
        }
        self.leader.holds.store(false, Ordering::Release);
        let released = Lease { holder: String::new(), ..self.lease };
        match self.leader.write(&released) {
            Ok(_) => log::info!("{} released the lease {}", self.leader.me, self.leader.key),
            Err(e) => log::warn!("cannot release the lease {}, it will expire: {e}", self.leader.key),
        }
    }

    /// One attempt. The error is the reason why this process must stop acting.
    fn renew(&mut self) -> Result<(), String> {
        // An attempt that began later could end after the Lease has expired.
        self.check_deadline()?;
        let asked = Instant::now();
        match self.leader.write(&self.lease) {
            Ok(lease) => {
                self.lease = lease;
                self.renewed = asked;
                return Ok(());
            }
            Err(e) if e.is_conflict() || e.is_not_found() => self.read_again()?,
            Err(e) => log::warn!("cannot renew the lease {}: {e}", self.leader.key),
        }
        self.check_deadline()
    }

    fn check_deadline(&self) -> Result<(), String> {
        if self.renewed.elapsed() < RENEW_DEADLINE {
            return Ok(());
        }
        let secs = RENEW_DEADLINE.as_secs();
        Err(format!("the lease {} could not be renewed for {secs} s", self.leader.key))
    }

    /// The Lease was changed or deleted. If this process is still the holder, or the Lease is gone, the next attempt
    /// renews it.
    fn read_again(&mut self) -> Result<(), String> {
        match self.leader.cluster.get(Kind::Lease, &self.leader.key) {
            Ok(object) => {
                let lease = match self.leader.read(&object) {
                    Ok(lease) => lease,
                    Err(e) => return Err(e.to_string()),
                };
                if lease.holder != self.leader.me {
                    return Err(format!("the lease {} was taken by {:?}", self.leader.key, lease.holder));
                }
                self.lease = lease;
            }
            Err(e) if e.is_not_found() => self.lease.version.clear(),
            Err(e) => log::warn!("cannot read the lease {}: {e}", self.leader.key),
        }
        Ok(())
    }
}

/// The thread that renews.
pub struct LeaseKeeper {
    end: Stop,
    thread: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Releases the Lease, so that the next process can act immediately. Call it when no part of this process acts any
    /// more.
    pub fn release(self) {
        self.end.cancel();
        // Its panic has already been printed.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::Value;

    use super::*;
    use crate::api::cluster::not_expected;

    /// Does not answer attempts to write a Lease, and counts them.
    #[derive(Default)]
    struct Silent(AtomicUsize);

    impl Cluster for Silent {
        fn replace(&self, _: Kind, _: &Key, _: &Value) -> Result<Object, ApiError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(ApiError { code: 0, reason: "Timeout".to_owned(), message: "no answer".to_owned() })
        }

        not_expected!(get, create, list, watch, patch, delete, pod_proxy);
    }

    #[test]
    fn a_leader_past_its_deadline_stops_without_another_attempt() {
        let cluster = Arc::new(Silent::default());
        let leader = Leader::new(cluster.clone(), Key::new("n", "lease"), "first");
        let lease = Lease { version: "1".to_owned(), ..leader.taken(None) };
        let mut held = Held { leader, lease, renewed: Instant::now() };
        held.renew().expect("there is time for another attempt");
        assert_eq!(cluster.0.load(Ordering::SeqCst), 1);
        held.renewed = Instant::now().checked_sub(RENEW_DEADLINE).unwrap();
        let why = held.renew().unwrap_err();
        assert!(why.contains("could not be renewed for 8 s"), "{why}");
        assert_eq!(cluster.0.load(Ordering::SeqCst), 1, "the second attempt could end too late");
    }
}
