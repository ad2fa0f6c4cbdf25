//! Compares the two modes: a function of what was sent, without clocks.
//!
//! One mode leads. The other one is tried periodically: with exponential back-off while it loses, and never at a higher
//! cost than the [`TrialBudget`] allows. It is tried soon when the leader's speed shows that something has changed.

use std::mem;
use std::time::Duration;

use crate::send::compression::BlockMode;
use crate::send::compression::sample::{RateSample, SPAN_BYTES, Span, Speed};
use crate::snappy::BLOCK_BYTES;

/// A trial that is less than half as fast as the leader ends after this time. Most scheduler delays are shorter.
const HOPELESS_AFTER: Duration = Duration::from_millis(60);
/// On slow networks a whole trial is too expensive. There, this many blocks of 256 KiB are sent as a probe first, after
/// the blocks that settle.
const PROBED_BLOCKS: u32 = 4;
/// Below this speed a trial is probed first. A span at this speed takes 20 ms.
const SLOW: Speed = 200e6;
/// A trial whose speed is between these shares of the leader's speed continues, up to this many spans.
const CLOSE: (f64, f64) = (0.8, 1.3);
const CLOSE_SPANS: u32 = 3;
/// The share of the leader's speed at which the other mode wins. Storing saves processor time, so it wins if both are
/// equally fast. Compressing must be faster.
const STORED_WINS: f64 = 0.98;
const MIXED_WINS: f64 = 1.05;
/// A mode whose speed is a smaller share than this has lost clearly.
const CLEAR: f64 = 2.0 / 3.0;
/// The maximum number of the leader's spans until the other mode is tried again.
const PATIENCE_LIMIT: u32 = 512;
/// If spans are slower by a third, or twice as fast, for this long, then the network, the load or the data has changed.
/// Pauses on a shared machine are shorter.
const ODD: Duration = Duration::from_millis(150);
/// The minimum number of such spans: a single burst or scheduler delay does not count.
const ODD_SPANS: u32 = 2;

/// The time that trials may lose at the beginning, when nothing is known yet. It does not matter in a clone that takes
/// seconds.
const CREDIT_SECS: f64 = 0.04;
/// The time that they may lose after that, as a share of the elapsed time.
const SHARE: f64 = 0.02;

/// The mode of the next blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All blocks, in this mode.
    All(BlockMode),
    /// The next blocks of this number are stored, all others compressed.
    Probe(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Leading,
    Probing,
    Trying,
}

/// Tracks which mode leads and which is on trial.
#[derive(Debug)]
pub(super) struct ModeController {
    leader: BlockMode,
    /// The usual speed of the leader.
    usual: Option<Speed>,
    /// Logical bytes per byte on the wire where blocks are compressed.
    packing: f64,
    /// The last speed of the other mode, from a trial or from when it led.
    other_speed: Option<Speed>,
    stage: Stage,
    span: Span,
    last_mode: BlockMode,
    /// The number of the leader's spans until the other mode is tried.
    left: u32,
    patience: u32,
    /// Consecutive spans that were much slower or faster than usual.
    odd: OddSpans,
    /// The bytes that the sockets hold. Until they have left, the speed is that of the previous mode.
    settling_bytes: u64,
    budget: TrialBudget,
}

impl ModeController {
    /// Starts with compressing. The sockets hold at most `settling_bytes`.
    pub(super) fn new(settling_bytes: u64) -> Self {
        Self {
            leader: BlockMode::Adaptive,
            usual: None,
            packing: 1.0,
            other_speed: None,
            stage: Stage::Leading,
            span: Span::default(),
            last_mode: BlockMode::Adaptive,
            // A trial is due immediately, because nothing is known yet.
            left: 1,
            patience: first_patience(BlockMode::Adaptive, false),
            odd: OddSpans::default(),
            settling_bytes,
            budget: TrialBudget::default(),
        }
    }

    /// Evaluates a block that was sent, and returns the mode of the next blocks.
    pub(super) fn sent(&mut self, sent: &RateSample) -> Order {
        self.budget.elapse(sent.time);
        if let Some(usual) = self.usual.filter(|_| sent.mode != self.leader) {
            self.budget.charge(sent, usual);
        }
        let has_changed = mem::replace(&mut self.last_mode, sent.mode) != sent.mode;
        // The blocks of a probe are mixed with others, so each of them is counted alone.
        if has_changed && self.stage != Stage::Probing {
            self.span = Span::after(self.settling_bytes);
        }
        let watched = if self.stage == Stage::Leading { self.leader } else { other(self.leader) };
        if sent.mode == watched {
            self.span.add(sent);
            match self.stage {
                Stage::Leading if self.span.is_long(1) => self.led(),
                Stage::Probing if self.span.blocks() == self.probe_blocks() => self.probed(),
                Stage::Trying if self.span.is_long(1) || self.is_hopeless() => self.tried(),
                _ => {}
            }
        }
        match self.stage {
            Stage::Leading => Order::All(self.leader),
            Stage::Probing => Order::Probe(self.probe_blocks()),
            Stage::Trying => Order::All(other(self.leader)),
        }
    }

    /// Handles the end of a span of the leader.
    fn led(&mut self) {
        let speed = self.span.speed();
        if self.leader == BlockMode::Adaptive {
            self.packing = self.span.packing().max(1.0);
        }
        log::debug!("{:?} sends {:.0} MB/s", self.leader, speed / 1e6);
        if self.is_news(speed) {
            // Previous results may no longer hold.
            self.left = 1;
            self.patience = first_patience(self.leader, false);
            self.other_speed = None;
        }
        self.left = self.left.saturating_sub(1);
        let patience = first_patience(self.leader, self.leads_clearly());
        if self.left == 0 && self.patience < patience {
            // The leader has become faster since the other mode lost.
            self.left = patience - mem::replace(&mut self.patience, patience);
        }
        if self.left == 0 && self.budget.allows(self.estimate_secs()) {
            self.enter(if self.needs_probe() { Stage::Probing } else { Stage::Trying });
        } else {
            self.span = Span::default();
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.span = Span::after(self.settling_bytes);
    }

    fn probe_blocks(&self) -> u32 {
        PROBED_BLOCKS + u32::try_from(self.settling_bytes / BLOCK_BYTES as u64).unwrap_or(0)
    }

    /// Updates the leader's usual speed. Returns whether the speed has changed.
    fn is_news(&mut self, speed: Speed) -> bool {
        let usual = self.usual.unwrap_or(speed);
        if (usual * CLEAR..usual * 2.0).contains(&speed) {
            self.odd = OddSpans::default();
            // A weighted harmonic mean.
            self.usual = Some(4.0 / (3.0 / usual + 1.0 / speed));
            return false;
        }
        self.odd.count += 1;
        self.odd.time += self.span.time();
        let is_news = self.odd.count >= ODD_SPANS && self.odd.time >= ODD;
        if is_news {
            self.usual = Some(speed);
            self.odd = OddSpans::default();
        }
        is_news
    }

    /// Whether the last speed of the other mode was lower by a third than the leader's usual speed.
    fn leads_clearly(&self) -> bool {
        self.usual.zip(self.other_speed).is_some_and(|(usual, other)| other < usual * CLEAR)
    }

    /// The expected speed of the other mode. If the network is the bottleneck, stored blocks leave no faster than
    /// compressed ones.
    fn expected_speed(&self) -> Speed {
        let usual = self.usual.unwrap_or(f64::MAX);
        let unknown = if self.leader == BlockMode::Adaptive { usual / self.packing } else { usual };
        self.other_speed.unwrap_or(unknown).max(1.0)
    }

    /// Whether a whole trial without a probe would take too long.
    fn needs_probe(&self) -> bool {
        self.leader == BlockMode::Adaptive && self.expected_speed() < SLOW
    }

    /// The expected cost of a trial.
    fn estimate_secs(&self) -> f64 {
        let settling =
            if self.leader == BlockMode::Adaptive { 1.0 } else { self.packing } * self.settling_bytes as f64;
        let judged =
            if self.needs_probe() { u64::from(PROBED_BLOCKS) * BLOCK_BYTES as u64 } else { SPAN_BYTES };
        let saved = 1.0 / self.expected_speed() - 1.0 / self.usual.unwrap_or(f64::MAX);
        (settling + judged as f64) * saved.max(0.0)
    }

    /// Whether the mode on trial is less than half as fast as the leader.
    fn is_hopeless(&self) -> bool {
        self.ratio() < 0.5 && (self.stage == Stage::Probing || self.span.time() >= HOPELESS_AFTER)
    }

    /// The speed of the other mode as a share of the leader's.
    fn ratio(&self) -> f64 {
        self.span.speed() / self.usual.unwrap_or(f64::MAX)
    }

    /// Handles the end of a probe.
    fn probed(&mut self) {
        if self.span.has_speed() && self.is_hopeless() {
            self.conclude();
        } else {
            self.enter(Stage::Trying);
        }
    }

    /// Handles a trial span of the other mode that is complete or hopeless.
    fn tried(&mut self) {
        let is_close = (CLOSE.0..CLOSE.1).contains(&self.ratio());
        if !is_close || self.span.is_long(CLOSE_SPANS) {
            self.conclude();
        }
    }

    /// Ends the trial.
    fn conclude(&mut self) {
        let speed = self.span.speed();
        let ratio = self.ratio();
        let tried = other(self.leader);
        let wins = ratio >= if tried == BlockMode::Stored { STORED_WINS } else { MIXED_WINS };
        let verdict = if wins { "better" } else { "worse" };
        log::debug!("{tried:?} sends {:.0} MB/s, which is {verdict}", speed / 1e6);
        if wins {
            self.other_speed = self.usual.replace(speed);
            self.leader = tried;
            self.odd = OddSpans::default();
            self.patience = first_patience(tried, false);
        } else {
            self.other_speed = Some(speed);
            self.patience = (self.patience * 2).min(PATIENCE_LIMIT);
        }
        self.left = self.patience;
        self.budget.settle();
        self.enter(Stage::Leading);
    }
}

/// Consecutive spans of unusual speed.
#[derive(Debug, Default)]
struct OddSpans {
    count: u32,
    time: Duration,
}

fn other(mode: BlockMode) -> BlockMode {
    match mode {
        BlockMode::Adaptive => BlockMode::Stored,
        BlockMode::Stored => BlockMode::Adaptive,
    }
}

/// The number of a new leader's spans until the other mode is tried again. Compressing is expensive, so it is
/// reconsidered soon. Storing, where compressing `lost_clearly`, usually stays the better mode until its speed changes.
fn first_patience(leader: BlockMode, lost_clearly: bool) -> u32 {
    match (leader, lost_clearly) {
        (BlockMode::Adaptive, _) => 2,
        (BlockMode::Stored, false) => 32,
        (BlockMode::Stored, true) => 128,
    }
}

/// The account of what trials cost, which is limited to a share of the clone's time.
#[derive(Debug, Default)]
struct TrialBudget {
    elapsed: Duration,
    /// How much longer trials took than the better mode would have taken, in seconds.
    spent_secs: f64,
}

impl TrialBudget {
    fn elapse(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// Charges a block that was sent in the mode on trial. `usual` is the leader's usual speed.
    fn charge(&mut self, sent: &RateSample, usual: Speed) {
        self.spent_secs += sent.time.as_secs_f64() - sent.logical_bytes as f64 / usual;
    }

    /// Ends a trial. A gain does not allow more trials.
    fn settle(&mut self) {
        self.spent_secs = self.spent_secs.max(0.0);
    }

    /// Whether a trial that costs `secs` may start.
    fn allows(&self, secs: f64) -> bool {
        self.spent_secs + secs <= CREDIT_SECS + self.elapsed.as_secs_f64() * SHARE
    }
}
