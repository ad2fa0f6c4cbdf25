//! Whether data is compressed: by what is the bottleneck at that moment.
//!
//! Two ways are compared by what they get through. `Stored` sends everything as it is: right where compressing, or
//! decompressing at the other end, is what the others wait for. `Mixed` compresses a block when frames pile up behind the
//! socket and stores it when the sender waits for one: right where the network is slower. Which one is better shows only in
//! trying, since a full socket can mean a slow network or a busy target. So the better one runs, the other one is tried for
//! a moment now and then, and the longer it has been worse the rarer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;

/// What the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Block by block, whatever is faster.
    #[default]
    Auto,
    /// Every block that gets smaller by it.
    Always,
    /// No block.
    Never,
}

/// How a block was, or is to be, made into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Compressed where the sender has enough to do meanwhile.
    Mixed,
    /// As it is.
    Stored,
}

/// What the sockets of both ends may swallow (Linux: 4 and 6 MiB at most, most of it at the beginning) before the network's
/// speed shows, in bytes on the wire. Until then everything is compressed.
const SWALLOWED_BYTES: u64 = 8 << 20;
/// A way is judged by this much, in logical bytes: long enough for the hiccups of a scheduler, short enough to be bearable
/// when it is the wrong way on a slow network.
const TRIAL_BYTES: u64 = 8 << 20;
/// And for at least this long, on fast networks.
const TRIAL: Duration = Duration::from_millis(15);
/// Blocks that are still shaped by what went before a change.
const SETTLING_BLOCKS: u32 = 2;
/// From here on a trial may be given up when it is hopeless.
const HOPELESS_BYTES: u64 = 1 << 20;
/// Trials of the better way before the other one is tried again; twice as many each time, up to the last.
const PATIENCE: (u32, u32) = (16, 256);
/// Compressing costs processor time, so it must be this much better, in percent.
const ADVANTAGE: u64 = 105;

/// What the sender and the compressors share.
#[derive(Debug)]
pub struct Choice {
    compression: Compression,
    stores: AtomicBool,
    /// The network's speed shows.
    is_judged: AtomicBool,
}

impl Choice {
    /// Begins with compressing: on a slow network the first megabytes cost the most.
    pub fn new(compression: Compression) -> Self {
        let stores = AtomicBool::new(compression == Compression::Never);
        Self { compression, stores, is_judged: AtomicBool::new(false) }
    }

    /// The way of the next block.
    pub fn way(&self) -> Way {
        if self.stores.load(Ordering::Relaxed) { Way::Stored } else { Way::Mixed }
    }

    /// Whether a block is compressed that goes `way`; `is_awaited`: the sender has nothing else to send.
    pub fn compresses(&self, way: Way, is_awaited: bool) -> bool {
        match self.compression {
            Compression::Always => true,
            Compression::Never => false,
            Compression::Auto => way == Way::Mixed && !(is_awaited && self.is_judged.load(Ordering::Relaxed)),
        }
    }

    /// What the sender tells about its work to: nobody, where there is nothing to choose.
    pub fn judge(&self) -> Option<Judge<'_>> {
        let judge = || Judge { choice: self, contest: Contest::default(), swallowed_bytes: 0 };
        (self.compression == Compression::Auto).then(judge)
    }
}

/// The sender's side: sees how fast each way is.
#[derive(Debug)]
pub struct Judge<'a> {
    choice: &'a Choice,
    contest: Contest,
    swallowed_bytes: u64,
}

impl Judge<'_> {
    /// A block of `logical_bytes`, `wire_bytes` in frames, that went `way` took the sender `time`, from the one before it on.
    pub fn sent(&mut self, way: Way, logical_bytes: u64, wire_bytes: u64, time: Duration) {
        if self.swallowed_bytes < SWALLOWED_BYTES {
            self.swallowed_bytes += wire_bytes;
            return;
        }
        self.choice.is_judged.store(true, Ordering::Relaxed);
        let next = self.contest.sent(way, logical_bytes, time);
        self.choice.stores.store(next == Way::Stored, Ordering::Relaxed);
    }
}

/// Logical bytes per second. Rates are only compared with each other.
type Speed = u64;

/// The comparison itself: a function of what was sent, without clocks.
#[derive(Debug)]
struct Contest {
    better: Way,
    /// How fast that was in its last trial.
    better_speed: Option<Speed>,
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
            better_speed: None,
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
    fn sent(&mut self, way: Way, bytes: u64, time: Duration) -> Way {
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
            && self.better_speed.is_some_and(|better| self.speed() < better / 2)
    }

    /// A trial is over.
    fn conclude(&mut self) {
        let speed = self.speed();
        if self.judged == self.better {
            let has_slowed_down = self.better_speed.is_some_and(|before| speed < before / 3 * 2);
            self.better_speed = Some(speed);
            if has_slowed_down {
                // Another network, another load, or other data: what was found out before may not hold.
                (self.left, self.patience) = (1, PATIENCE.0);
            }
            self.left -= 1;
            if self.left == 0 {
                self.wished = other(self.better);
            }
        } else {
            let better_speed = self.better_speed.unwrap_or(0);
            if wins(self.judged, speed, better_speed) {
                (self.better, self.better_speed, self.patience) = (self.judged, Some(speed), PATIENCE.0);
            } else {
                self.patience = (self.patience * 2).min(PATIENCE.1);
            }
            (self.wished, self.left) = (self.better, self.patience);
        }
        (self.bytes, self.time) = (0, Duration::ZERO);
    }
}

fn other(way: Way) -> Way {
    match way {
        Way::Mixed => Way::Stored,
        Way::Stored => Way::Mixed,
    }
}

/// Whether the other way takes over. Where both are equal it is the one that spares the processor.
fn wins(way: Way, speed: Speed, better_speed: Speed) -> bool {
    match way {
        Way::Stored => speed >= better_speed,
        Way::Mixed => u128::from(speed) * 100 > u128::from(better_speed) * u128::from(ADVANTAGE),
    }
}

#[cfg(test)]
mod tests;
