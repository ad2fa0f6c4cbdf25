//! A TLS configuration that follows its keys: each new connection gets the configuration of the keys as they are then,
//! connections that are open keep theirs.
//!
//! Files are looked at when a connection begins, and at most once a second: an end that has no connection needs no new
//! keys, so there is no thread for it. A look reads the files and compares their bytes. They have a few KiB and lie in
//! memory, so this costs microseconds, and it cannot miss a change as times and inodes can: the kubelet swaps symbolic
//! links, others write in place.
//!
//! A configuration is built as a whole when something changed. With it go the sessions that clients could have resumed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::Unusable;
use super::generations::choose;
use super::places::{KeySet, Pem, Places};
use super::validity::{in_words, not_after};

/// From one look to the next. Many connections at once cost one look; a new key counts within it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes a configuration out of keys.
type Build<C> = Box<dyn Fn(&KeySet<Pem>) -> Result<Arc<C>, Unusable> + Send + Sync>;

/// A configuration as it is now. Clones share it.
pub struct Current<C>(Arc<Kept<C>>);

enum Kept<C> {
    Fixed(Arc<C>),
    Followed(Box<Followed<C>>),
}

impl<C> Clone for Current<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Current<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

/// One that never changes.
impl<C> From<Arc<C>> for Current<C> {
    fn from(config: Arc<C>) -> Self {
        Self(Arc::new(Kept::Fixed(config)))
    }
}

impl<C> Current<C> {
    /// One that follows `places`. Begins with generation 0, which must be of use, or a later one that is there already.
    ///
    /// Errors: why generation 0 cannot be used.
    pub fn following(
        places: Places,
        build: impl Fn(&KeySet<Pem>) -> Result<Arc<C>, Unusable> + Send + Sync + 'static,
    ) -> Result<Self, Unusable> {
        let keys = places.read(0)?;
        let used = Used::new(&keys, build(&keys)?);
        let look =
            Look { at: Instant::now(), generation: 0, keys, complaints: BTreeMap::new(), is_told: false };
        let (used, look) = (Mutex::new(used), Mutex::new(look));
        let followed = Followed { places, build: Box::new(build), used, look };
        followed.look(&mut followed.lock_look(), OffsetDateTime::now_utc());
        Ok(Self(Arc::new(Kept::Followed(Box::new(followed)))))
    }

    /// The configuration for a connection that begins now. It never fails: when new keys cannot be used, the previous
    /// ones stay.
    pub fn now(&self) -> Arc<C> {
        match &*self.0 {
            Kept::Fixed(config) => Arc::clone(config),
            Kept::Followed(followed) => followed.now(),
        }
    }

    /// Whether renewed keys can appear in a directory: then an end that is not trusted may be trusted again soon.
    pub fn is_renewed(&self) -> bool {
        matches!(&*self.0, Kept::Followed(followed) if followed.places.is_renewed())
    }

    /// In words, if our own certificate has ended: which one, since when, and what to do.
    pub fn expired(&self) -> Option<String> {
        match &*self.0 {
            Kept::Fixed(_) => None,
            Kept::Followed(followed) => followed.expired(OffsetDateTime::now_utc()),
        }
    }
}

struct Followed<C> {
    places: Places,
    build: Build<C>,
    used: Mutex<Used<C>>,
    /// Held by the connection that looks; others take what is used.
    look: Mutex<Look>,
}

/// What connections get.
struct Used<C> {
    config: Arc<C>,
    /// What the certificate is called in messages.
    what: String,
    /// When it ends; `None` if it does not say so in a way that we understand.
    not_after: Option<OffsetDateTime>,
}

/// What is known since the last look.
struct Look {
    at: Instant,
    generation: u8,
    keys: KeySet<Pem>,
    /// Generations that could not be used, and why: what was said already.
    complaints: BTreeMap<u8, Unusable>,
    /// It was said that the certificate has ended.
    is_told: bool,
}

impl<C> Used<C> {
    fn new(keys: &KeySet<Pem>, config: Arc<C>) -> Self {
        let chain = keys.identity().map(|identity| identity.chain).unwrap_or_default();
        let not_after = chain.first().and_then(not_after);
        Self { config, what: keys.chain.what().to_owned(), not_after }
    }
}

impl<C> Followed<C> {
    fn now(&self) -> Arc<C> {
        // A connection never waits for the look of another one.
        let look = match self.look.try_lock() {
            Ok(look) => Some(look),
            Err(TryLockError::Poisoned(look)) => Some(look.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut look) = look.filter(|look| look.at.elapsed() >= LOOK_EVERY) {
            self.look(&mut look, OffsetDateTime::now_utc());
        }
        Arc::clone(&self.lock_used().config)
    }

    /// Looks at all generations, and uses the one that counts.
    fn look(&self, look: &mut Look, now: OffsetDateTime) {
        let choice = choose(&self.places.there(), look.generation, |generation| {
            // The kubelet may have swapped the files while they were read. Then the second time is right.
            self.take(look, generation).or_else(|_| self.take(look, generation))
        });
        for (generation, unusable) in &choice.skipped {
            if look.complaints.get(generation) != Some(unusable) {
                let name = self.places.name(*generation);
                log::warn!("{name} cannot be used, the previous keys stay in use: {unusable}");
            }
        }
        look.complaints = choice.skipped.into_iter().collect();
        if let Some((generation, (keys, config))) = choice.found {
            let used = Used::new(&keys, config);
            let end = used.not_after.map_or("an unknown time".to_owned(), in_words);
            log::info!("renewed keys: {} is used from now on; it is valid until {end}", used.what);
            *self.lock_used() = used;
            (look.generation, look.keys, look.is_told) = (generation, keys, false);
        }
        if let Some(expired) = self.expired(now).filter(|_| !look.is_told) {
            log::warn!("{expired}");
            look.is_told = true;
        }
        look.at = Instant::now();
    }

    /// Reads a generation and builds what is made of it, unless it is the one that is used and did not change.
    #[allow(clippy::type_complexity, reason = "a set of keys and what was built from it")]
    fn take(&self, look: &Look, generation: u8) -> Result<ControlFlow<(), (KeySet<Pem>, Arc<C>)>, Unusable> {
        let keys = self.places.read(generation)?;
        if generation == look.generation && keys.is_same(&look.keys) {
            return Ok(ControlFlow::Break(()));
        }
        let config = (self.build)(&keys)?;
        Ok(ControlFlow::Continue((keys, config)))
    }

    fn expired(&self, now: OffsetDateTime) -> Option<String> {
        let used = self.lock_used();
        let end = used.not_after.filter(|&end| end < now)?;
        let (what, since, ago_secs) = (&used.what, in_words(end), (now - end).whole_seconds());
        let remedy = self.places.remedy();
        Some(format!("our own certificate, {what}, expired at {since}, {ago_secs} s ago: {remedy}"))
    }

    fn lock_used(&self) -> MutexGuard<'_, Used<C>> {
        // It is replaced as a whole: it is right even if a holder panicked.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
