//! The comparison of two ways: a function of what was sent, without clocks.
//!
//! One of them leads. The other one is tried now and then: rarer the clearer it lost, never where it would cost more than
//! the [`TrialBudget`] has, and soon when the leader's speed says that something has changed.

use std::mem;
use std::time::Duration;

use crate::send::compression::BlockMode;
use crate::send::compression::sample::{RateSample, SPAN_BYTES, Span, Speed};
use crate::snappy::BLOCK_BYTES;

/// A trial that is not half as fast is given up after this time: longer than most hiccups of a scheduler.
const HOPELESS_AFTER: Duration = Duration::from_millis(60);
/// Where the network is so slow that a whole trial would be dear, there is a first look of so many blocks of 256 KiB, behind
/// those that settle.
const PROBED_BLOCKS: u32 = 4;
/// A span at this speed takes 20 ms.
const SLOW: Speed = 200e6;
/// A trial that is neither clearly slower nor clearly faster than the leader goes on, up to this many spans.
const CLOSE: (f64, f64) = (0.8, 1.3);
const CLOSE_SPANS: u32 = 3;
/// What the leader is worth to the other way: storing spares processor time and takes over where both are the same,
/// compressing must be this much faster.
const STORED_WINS: f64 = 0.98;
const MIXED_WINS: f64 = 1.05;
/// A loser that is slower than this lost clearly.
const CLEAR: f64 = 2.0 / 3.0;
/// Spans of the leader until the other way is tried again, at most.
const PATIENCE_LIMIT: u32 = 512;
/// Spans that are slower by a third, or twice as fast, for so long are news about the network, the load or the data. A
/// machine that is shared has pauses that are shorter.
const ODD: Duration = Duration::from_millis(150);
/// And so many, where one takes as long as that: one burst, or one hiccup, does not count.
const ODD_SPANS: u32 = 2;

/// What may be lost at the beginning, when nothing is known. Nobody notices it in a clone that takes seconds.
const CREDIT_SECS: f64 = 0.04;
/// And after that, of the time that goes by.
const SHARE: f64 = 0.02;

/// Which way the next blocks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All of them.
    All(BlockMode),
    /// So many of them are stored, the others compressed.
    Probe(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Leading,
    Probing,
    Trying,
}

/// Who leads, and what is tried.
#[derive(Debug)]
pub(super) struct ModeController {
    leader: BlockMode,
    /// How fast the leader usually is.
    usual: Option<Speed>,
    /// How many logical bytes stand in one on the wire where blocks are compressed.
    packing: f64,
    /// How fast the other one was when it was tried, or led.
    other_speed: Option<Speed>,
    stage: Stage,
    span: Span,
    last_way: BlockMode,
    /// Spans of the leader until the other one is tried.
    left: u32,
    patience: u32,
    /// Spans in a row that were much slower or faster than usual, and how long they took.
    odd: (u32, Duration),
    /// What the sockets hold. Until that is gone, what went before a change is what others work on.
    settling_bytes: u64,
    budget: TrialBudget,
}

impl ModeController {
    /// Begins with compressing; the sockets hold at most `settling_bytes`.
    pub(super) fn new(settling_bytes: u64) -> Self {
        Self {
            leader: BlockMode::Adaptive,
            usual: None,
            packing: 1.0,
            other_speed: None,
            stage: Stage::Leading,
            span: Span::default(),
            last_way: BlockMode::Adaptive,
            // Tried at once: nothing is known yet.
            left: 1,
            patience: first_patience(BlockMode::Adaptive, false),
            odd: (0, Duration::ZERO),
            settling_bytes,
            budget: TrialBudget::default(),
        }
    }

    /// Takes note of a block and says which way the next ones go.
    pub(super) fn sent(&mut self, sent: &RateSample) -> Order {
        self.budget.elapse(sent.time);
        if let Some(usual) = self.usual.filter(|_| sent.mode != self.leader) {
            self.budget.charge(sent, usual);
        }
        let has_changed = mem::replace(&mut self.last_way, sent.mode) != sent.mode;
        // The blocks of a probe stand among others; each of them is counted by itself.
        if has_changed && self.stage != Stage::Probing {
            self.span = Span::behind(self.settling_bytes);
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

    /// The leader has come a span further.
    fn led(&mut self) {
        let speed = self.span.speed();
        if self.leader == BlockMode::Adaptive {
            self.packing = self.span.packing().max(1.0);
        }
        log::debug!("{:?} gets {:.0} MB/s through", self.leader, speed / 1e6);
        if self.is_news(speed) {
            // What was found out before may not hold.
            (self.left, self.patience) = (1, first_patience(self.leader, false));
            self.other_speed = None;
        }
        self.left = self.left.saturating_sub(1);
        let patience = first_patience(self.leader, self.leads_clearly());
        if self.left == 0 && self.patience < patience {
            // The leader has become faster since the other one lost.
            self.left = patience - mem::replace(&mut self.patience, patience);
        }
        if self.left == 0 && self.budget.allows(self.estimate_secs()) {
            self.enter(if self.needs_probe() { Stage::Probing } else { Stage::Trying });
        } else {
            self.span = Span::default();
        }
    }

    fn enter(&mut self, stage: Stage) {
        (self.stage, self.span) = (stage, Span::behind(self.settling_bytes));
    }

    fn probe_blocks(&self) -> u32 {
        PROBED_BLOCKS + u32::try_from(self.settling_bytes / BLOCK_BYTES as u64).unwrap_or(0)
    }

    /// Takes note of the leader's speed. Whether it is another one than before.
    fn is_news(&mut self, speed: Speed) -> bool {
        let usual = self.usual.unwrap_or(speed);
        if (usual * CLEAR..usual * 2.0).contains(&speed) {
            self.odd = (0, Duration::ZERO);
            // A mean over time.
            self.usual = Some(4.0 / (3.0 / usual + 1.0 / speed));
            return false;
        }
        self.odd = (self.odd.0 + 1, self.odd.1 + self.span.time());
        let is_news = self.odd.0 >= ODD_SPANS && self.odd.1 >= ODD;
        if is_news {
            (self.usual, self.odd) = (Some(speed), (0, Duration::ZERO));
        }
        is_news
    }

    /// Whether the other way was slower by a third, when it was tried, than the leader usually is.
    fn leads_clearly(&self) -> bool {
        self.usual.zip(self.other_speed).is_some_and(|(usual, other)| other < usual * CLEAR)
    }

    /// How fast the other way would be, as far as is known: where the network is the slowest part, stored blocks leave no
    /// faster than compressed ones.
    fn expected_speed(&self) -> Speed {
        let usual = self.usual.unwrap_or(f64::MAX);
        let unknown = if self.leader == BlockMode::Adaptive { usual / self.packing } else { usual };
        self.other_speed.unwrap_or(unknown).max(1.0)
    }

    /// Whether a trial as a whole would take too long to be risked.
    fn needs_probe(&self) -> bool {
        self.leader == BlockMode::Adaptive && self.expected_speed() < SLOW
    }

    /// What a trial will cost.
    fn estimate_secs(&self) -> f64 {
        let settling =
            if self.leader == BlockMode::Adaptive { 1.0 } else { self.packing } * self.settling_bytes as f64;
        let judged =
            if self.needs_probe() { u64::from(PROBED_BLOCKS) * BLOCK_BYTES as u64 } else { SPAN_BYTES };
        let saved = 1.0 / self.expected_speed() - 1.0 / self.usual.unwrap_or(f64::MAX);
        (settling + judged as f64) * saved.max(0.0)
    }

    /// The other way is on trial and not half as fast.
    fn is_hopeless(&self) -> bool {
        self.ratio() < 0.5 && (self.stage == Stage::Probing || self.span.time() >= HOPELESS_AFTER)
    }

    /// How fast the other way is, of the leader's speed.
    fn ratio(&self) -> f64 {
        self.span.speed() / self.usual.unwrap_or(f64::MAX)
    }

    /// The first look is over.
    fn probed(&mut self) {
        if self.span.has_speed() && self.is_hopeless() {
            self.conclude();
        } else {
            self.enter(Stage::Trying);
        }
    }

    /// The other way has come a span further, or is hopeless.
    fn tried(&mut self) {
        let is_close = (CLOSE.0..CLOSE.1).contains(&self.ratio());
        if !is_close || self.span.is_long(CLOSE_SPANS) {
            self.conclude();
        }
    }

    /// The trial is over.
    fn conclude(&mut self) {
        let (speed, ratio, tried) = (self.span.speed(), self.ratio(), other(self.leader));
        let wins = ratio >= if tried == BlockMode::Stored { STORED_WINS } else { MIXED_WINS };
        let verdict = if wins { "better" } else { "worse" };
        log::debug!("{tried:?} gets {:.0} MB/s through, which is {verdict}", speed / 1e6);
        if wins {
            self.other_speed = self.usual.replace(speed);
            (self.leader, self.odd) = (tried, (0, Duration::ZERO));
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

fn other(mode: BlockMode) -> BlockMode {
    match mode {
        BlockMode::Adaptive => BlockMode::Stored,
        BlockMode::Stored => BlockMode::Adaptive,
    }
}

/// Spans of a new leader until the other way is tried again. Compressing is dear, so whether it pays is asked again soon;
/// storing where compressing `lost_clearly` is right until its speed changes, as a rule.
fn first_patience(leader: BlockMode, lost_clearly: bool) -> u32 {
    match (leader, lost_clearly) {
        (BlockMode::Adaptive, _) => 2,
        (BlockMode::Stored, false) => 32,
        (BlockMode::Stored, true) => 128,
    }
}

/// Keeps the account.
#[derive(Debug, Default)]
struct TrialBudget {
    elapsed: Duration,
    /// What trials took longer than the better way would have, in seconds.
    spent_secs: f64,
}

impl TrialBudget {
    /// Time goes by.
    fn elapse(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// A block went the other way than the one that usually gets `usual` through.
    fn charge(&mut self, sent: &RateSample, usual: Speed) {
        self.spent_secs += sent.time.as_secs_f64() - sent.logical_bytes as f64 / usual;
    }

    /// A trial is over. What it gained is no reason to try more.
    fn settle(&mut self) {
        self.spent_secs = self.spent_secs.max(0.0);
    }

    /// Whether a trial may begin that costs `secs`.
    fn allows(&self, secs: f64) -> bool {
        self.spent_secs + secs <= CREDIT_SECS + self.elapsed.as_secs_f64() * SHARE
    }
}
