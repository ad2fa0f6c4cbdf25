//! The comparison of two ways: a function of what was sent, without clocks.

use std::time::Duration;

use super::Way;

/// A way is judged by this much, in logical bytes: long enough for the hiccups of a scheduler, short enough to be bearable
/// when it is the wrong way.
const TRIAL_BYTES: u64 = 4 << 20;
/// And for at least this long, on fast networks.
const TRIAL: Duration = Duration::from_millis(15);
/// Blocks that are still shaped by what went before a change.
const SETTLING_BLOCKS: u32 = 2;
/// From here on a trial may be given up when it is hopeless.
const HOPELESS_BYTES: u64 = 512 << 10;
/// Trials of the better way before the other one is tried again; twice as many each time, up to the last.
const PATIENCE: (u32, u32) = (32, 512);
/// So many trials in a row that are slower by a third are news about the network, the load or the data; one is a hiccup.
const SLOW_TRIALS: u32 = 2;
/// Compressing costs processor time, so it must be this much better, in percent.
const ADVANTAGE: u64 = 105;

/// Logical bytes per second. Rates are only compared with each other.
type Speed = u64;

/// Who leads, and what is tried.
#[derive(Debug)]
pub(super) struct Contest {
    better: Way,
    /// How fast that usually is.
    usual_speed: Option<Speed>,
    /// Trials in a row that were much slower.
    slow_trials: u32,
    /// The way that is wished for now.
    wished: Way,
    /// The way of the blocks that are judged now, and how much of it was seen.
    judged: Way,
    settling: u32,
    bytes: u64,
    time: Duration,
    /// Trials of the better way until the other one is tried.
    left: u32,
    patience: u32,
}

impl Default for Contest {
    fn default() -> Self {
        Self {
            better: Way::Mixed,
            usual_speed: None,
            slow_trials: 0,
            wished: Way::Mixed,
            judged: Way::Mixed,
            settling: SETTLING_BLOCKS,
            bytes: 0,
            time: Duration::ZERO,
            // The other way is tried at once: nothing is known yet.
            left: 1,
            patience: PATIENCE.0,
        }
    }
}

impl Contest {
    /// Takes note of a block and says which way the next ones go.
    pub(super) fn sent(&mut self, way: Way, bytes: u64, time: Duration) -> Way {
        if way != self.judged {
            self.begin(way);
        }
        if self.settling > 0 {
            self.settling -= 1;
            return self.wished;
        }
        self.bytes += bytes;
        self.time += time;
        let is_over = self.bytes >= TRIAL_BYTES && self.time >= TRIAL;
        if way == self.wished && (is_over || self.is_hopeless()) {
            self.conclude();
        }
        self.wished
    }

    fn begin(&mut self, way: Way) {
        self.judged = way;
        self.settling = SETTLING_BLOCKS;
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    fn speed(&self) -> Speed {
        let speed = u128::from(self.bytes) * 1_000_000_000 / self.time.as_nanos().max(1);
        Speed::try_from(speed).unwrap_or(Speed::MAX)
    }

    /// The other way is on trial and not half as fast.
    fn is_hopeless(&self) -> bool {
        let is_seen = self.bytes >= HOPELESS_BYTES;
        is_seen
            && self.judged != self.better
            && self.usual_speed.is_some_and(|usual| self.speed() < usual / 2)
    }

    /// A trial is over.
    fn conclude(&mut self) {
        let speed = self.speed();
        log::debug!("{:?} gets {} MB/s through; better: {:?}", self.judged, speed / 1_000_000, self.better);
        if self.judged == self.better {
            if self.has_slowed_down(speed) {
                // What was found out before may not hold.
                (self.left, self.patience) = (1, PATIENCE.0);
            }
            self.left -= 1;
            if self.left == 0 {
                self.wished = other(self.better);
            }
        } else {
            if wins(self.judged, speed, self.usual_speed.unwrap_or(0)) {
                (self.better, self.patience) = (self.judged, PATIENCE.0);
                (self.usual_speed, self.slow_trials) = (Some(speed), 0);
            } else {
                self.patience = (self.patience * 2).min(PATIENCE.1);
            }
            (self.wished, self.left) = (self.better, self.patience);
        }
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// Takes note of a trial of the better way. One burst does not make the next trial a slow one.
    fn has_slowed_down(&mut self, speed: Speed) -> bool {
        let usual = self.usual_speed.unwrap_or(speed);
        if speed >= usual / 3 * 2 {
            self.slow_trials = 0;
            self.usual_speed = Some((3 * usual + speed.min(2 * usual)) / 4);
            return false;
        }
        self.slow_trials += 1;
        let is_news = self.slow_trials == SLOW_TRIALS;
        if is_news {
            (self.usual_speed, self.slow_trials) = (Some(speed), 0);
        }
        is_news
    }
}

fn other(way: Way) -> Way {
    match way {
        Way::Mixed => Way::Stored,
        Way::Stored => Way::Mixed,
    }
}

/// Whether the other way takes over. Where both are equal it is the one that spares the processor.
fn wins(way: Way, speed: Speed, usual_speed: Speed) -> bool {
    match way {
        Way::Stored => speed >= usual_speed,
        Way::Mixed => u128::from(speed) * 100 > u128::from(usual_speed) * u128::from(ADVANTAGE),
    }
}
