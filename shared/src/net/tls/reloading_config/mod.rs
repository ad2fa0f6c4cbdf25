//! A TLS configuration that is rebuilt when its keys change. Each new connection uses the keys of that time; open connections
//! keep theirs.
//!
//! The files are checked when a connection starts, at most once a second. A process without connections needs no new keys, so
//! there is no thread for it. A check reads the files and compares their bytes. They have a few KiB and are in the page cache,
//! so this takes microseconds. Unlike a comparison of times and inodes it cannot miss a change: the kubelet swaps symbolic
//! links, other programs write in place.
//!
//! A change builds a new configuration. Clients cannot resume sessions of the previous one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::TlsConfigError;
use super::generations::choose;
use super::key_sources::{KeySet, KeySources, Pem};
use super::validity::{not_after, rfc3339};

/// Minimum time between two checks. A new key is used at most this long after it was written.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Builds a configuration from keys.
type Build<C> = Box<dyn Fn(&KeySet<Pem>) -> Result<Arc<C>, TlsConfigError> + Send + Sync>;

/// A configuration that may change over time. Clones share it.
pub struct ReloadingConfig<C>(Arc<ConfigState<C>>);

enum ConfigState<C> {
    Fixed(Arc<C>),
    Reloading(Box<Reloader<C>>),
}

impl<C> Clone for ReloadingConfig<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for ReloadingConfig<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloadingConfig")
    }
}

/// Makes a configuration that never changes.
impl<C> From<Arc<C>> for ReloadingConfig<C> {
    fn from(config: Arc<C>) -> Self {
        Self(Arc::new(ConfigState::Fixed(config)))
    }
}

impl<C> ReloadingConfig<C> {
    /// A configuration that `build` makes from the keys in `sources`. Starts with the highest usable generation; generation 0
    /// has to be usable in any case.
    ///
    /// Errors: why generation 0 cannot be used.
    pub fn from_keys(
        sources: KeySources,
        build: impl Fn(&KeySet<Pem>) -> Result<Arc<C>, TlsConfigError> + Send + Sync + 'static,
    ) -> Result<Self, TlsConfigError> {
        let keys = sources.read(0)?;
        let active = ActiveConfig::new(&keys, build(&keys)?);
        let state = ReloadState {
            checked_at: Instant::now(),
            generation: 0,
            keys,
            reported: BTreeMap::new(),
            expiry_is_reported: false,
        };
        let reloader = Reloader {
            sources,
            build: Box::new(build),
            active: Mutex::new(active),
            state: Mutex::new(state),
        };
        reloader.check(&mut reloader.lock_state(), OffsetDateTime::now_utc());
        Ok(Self(Arc::new(ConfigState::Reloading(Box::new(reloader)))))
    }

    /// The configuration for a connection that starts now. It never fails: if new keys cannot be used, the previous ones stay
    /// in use.
    pub fn current(&self) -> Arc<C> {
        match &*self.0 {
            ConfigState::Fixed(config) => Arc::clone(config),
            ConfigState::Reloading(reloader) => reloader.current(),
        }
    }

    /// Whether renewed keys can appear in a directory: then a process that is not trusted now may be trusted soon.
    pub fn can_renew(&self) -> bool {
        matches!(&*self.0, ConfigState::Reloading(reloader) if reloader.sources.can_renew())
    }

    /// A message if our own certificate has expired: which one, since when, and what to do.
    pub fn expiry_message(&self) -> Option<String> {
        match &*self.0 {
            ConfigState::Fixed(_) => None,
            ConfigState::Reloading(reloader) => reloader.expiry_message(OffsetDateTime::now_utc()),
        }
    }
}

struct Reloader<C> {
    sources: KeySources,
    build: Build<C>,
    active: Mutex<ActiveConfig<C>>,
    /// Locked by the connection that checks the keys; other connections use the active configuration meanwhile.
    state: Mutex<ReloadState>,
}

/// The configuration that new connections get.
struct ActiveConfig<C> {
    config: Arc<C>,
    /// Where the certificate comes from, for messages.
    label: String,
    /// When the certificate expires; `None` if that cannot be parsed.
    not_after: Option<OffsetDateTime>,
}

/// What is known since the last check.
struct ReloadState {
    checked_at: Instant,
    generation: u8,
    keys: KeySet<Pem>,
    /// Unusable generations that were reported already, and why they are unusable.
    reported: BTreeMap<u8, TlsConfigError>,
    expiry_is_reported: bool,
}

/// Keys, and the configuration built from them.
struct Built<C> {
    keys: KeySet<Pem>,
    config: Arc<C>,
}

impl<C> ActiveConfig<C> {
    fn new(keys: &KeySet<Pem>, config: Arc<C>) -> Self {
        let chain = keys.identity().map(|identity| identity.chain).unwrap_or_default();
        let not_after = chain.first().and_then(not_after);
        Self { config, label: keys.chain.label().to_owned(), not_after }
    }
}

impl<C> Reloader<C> {
    fn current(&self) -> Arc<C> {
        // A connection never waits for another connection's check.
        let state = match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut state) = state.filter(|state| state.checked_at.elapsed() >= CHECK_INTERVAL) {
            self.check(&mut state, OffsetDateTime::now_utc());
        }
        Arc::clone(&self.lock_active().config)
    }

    /// Checks all generations and activates the one to use.
    fn check(&self, state: &mut ReloadState, now: OffsetDateTime) {
        let choice = choose(&self.sources.available(), state.generation, |generation| {
            // The kubelet may have swapped the files while they were read. The second attempt then sees the new ones.
            self.read(state, generation).or_else(|_| self.read(state, generation))
        });
        for (generation, error) in &choice.skipped {
            if state.reported.get(generation) != Some(error) {
                let keys = self.sources.describe(*generation);
                log::warn!("cannot use {keys}: {error}; the previous keys stay in use");
            }
        }
        state.reported = choice.skipped.into_iter().collect();
        if let Some((generation, Built { keys, config })) = choice.found {
            let active = ActiveConfig::new(&keys, config);
            let end = active.not_after.map_or("an unknown time".to_owned(), rfc3339);
            log::info!("renewed keys: using {} from now on; it is valid until {end}", active.label);
            *self.lock_active() = active;
            state.generation = generation;
            state.keys = keys;
            state.expiry_is_reported = false;
        }
        if let Some(message) = self.expiry_message(now).filter(|_| !state.expiry_is_reported) {
            log::warn!("{message}");
            state.expiry_is_reported = true;
        }
        state.checked_at = Instant::now();
    }

    /// Reads a generation and builds its configuration, unless it is the active one and has not changed.
    fn read(&self, state: &ReloadState, generation: u8) -> Result<ControlFlow<(), Built<C>>, TlsConfigError> {
        let keys = self.sources.read(generation)?;
        if generation == state.generation && keys.is_same(&state.keys) {
            return Ok(ControlFlow::Break(()));
        }
        let config = (self.build)(&keys)?;
        Ok(ControlFlow::Continue(Built { keys, config }))
    }

    fn expiry_message(&self, now: OffsetDateTime) -> Option<String> {
        let active = self.lock_active();
        let end = active.not_after.filter(|&end| end < now)?;
        let ago_secs = (now - end).whole_seconds();
        Some(format!(
            "our own certificate, {}, expired at {}, {ago_secs} s ago: {}",
            active.label,
            rfc3339(end),
            self.sources.remedy()
        ))
    }

    fn lock_active(&self) -> MutexGuard<'_, ActiveConfig<C>> {
        // It is replaced as a whole: it is consistent even if a holder panicked.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_state(&self) -> MutexGuard<'_, ReloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
