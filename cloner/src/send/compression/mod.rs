//! Whether data is compressed: by what is the bottleneck at that moment.
//!
//! Two ways are compared by what they get through. `Stored` sends everything as it is: right where compressing, or
//! decompressing at the other end, is what the others wait for. `Adaptive` compresses a block while the socket is full, or frames
//! pile up behind it, and stores it when the sender waits for one: right where the network is slower. Which one is better shows
//! only in trying, since a full socket can mean a slow network or a busy target. So the better one runs, the other one is tried
//! for a moment now and then, and the longer it has been worse the rarer.

mod budget;
mod controller;
pub mod mode;
mod sample;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::send::compression::controller::{ModeController, Order};
use crate::send::compression::mode::{BlockMode, Compression};
use crate::send::compression::sample::RateSample;

/// What the socket may swallow (Linux: 4 MiB at most, most of it at the beginning) before the speed of a slow network shows,
/// in bytes on the wire. Until then everything is compressed.
const SWALLOWED_BYTES: u64 = 5 << 20;
/// A socket that was full has much to send still, even if the sender waits: Linux wakes it when a third is free, and that is
/// filled in bursts.
const FULL_LATELY: Duration = Duration::from_millis(50);

/// Every block, as a number of blocks.
const ALL: u32 = u32::MAX;

/// What the sender and the compressors share.
#[derive(Debug)]
pub struct CompressionMode {
    compression: Compression,
    /// How many more blocks are stored: none, [`ALL`], or those of a first look.
    stored_left: AtomicU32,
    /// The network's speed shows.
    is_judged: AtomicBool,
    began: Instant,
    /// When the socket was full last, counted from `began`, in microseconds.
    full_at_micros: AtomicU64,
}

impl CompressionMode {
    /// Begins with compressing: on a slow network the first megabytes cost the most.
    pub fn new(compression: Compression) -> Self {
        let stored_left = AtomicU32::new(if compression == Compression::Never { ALL } else { 0 });
        let (is_judged, full_at_micros) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { compression, stored_left, is_judged, began: Instant::now(), full_at_micros }
    }

    /// The way of the next block, as far as is known yet.
    pub fn mode(&self) -> BlockMode {
        if self.stored_left.load(Ordering::Relaxed) > 0 { BlockMode::Stored } else { BlockMode::Adaptive }
    }

    /// The way of a block that is made into frames now.
    pub fn take_mode(&self) -> BlockMode {
        let take = |left| if left == ALL { Some(ALL) } else { u32::checked_sub(left, 1) };
        match self.stored_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => BlockMode::Stored,
            Err(_) => BlockMode::Adaptive,
        }
    }

    /// Whether a block is compressed that goes `mode`; `is_awaited`: the sender has nothing else to send.
    pub fn compresses(&self, mode: BlockMode, is_awaited: bool) -> bool {
        match self.compression {
            Compression::Always => true,
            Compression::Never => false,
            Compression::Auto => {
                mode == BlockMode::Adaptive && !(is_awaited && self.may_starve(self.began.elapsed()))
            }
        }
    }

    /// Whether a sender that waits for frames has nothing in its socket either. `now` is counted from the beginning.
    fn may_starve(&self, now: Duration) -> bool {
        let full_at = Duration::from_micros(self.full_at_micros.load(Ordering::Relaxed));
        let is_full = full_at > Duration::ZERO && now.saturating_sub(full_at) < FULL_LATELY;
        self.is_judged.load(Ordering::Relaxed) && !is_full
    }

    /// A sender had to wait, because its socket was full until now.
    pub fn was_full(&self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.full_at_micros.store(micros.max(1), Ordering::Relaxed);
    }

    /// What is told of everything that goes out over `connections`: nobody, where there is nothing to choose.
    pub fn judge(&self, connections: usize) -> Option<RateMonitor<'_>> {
        let left_to_swallow_bytes = SWALLOWED_BYTES.saturating_mul(connections as u64);
        let judge = || RateMonitor {
            compression_mode: self,
            contest: ModeController::new(left_to_swallow_bytes),
            order: Order::All(BlockMode::Adaptive),
            left_to_swallow_bytes,
        };
        (self.compression == Compression::Auto).then(judge)
    }
}

/// The sender's side: sees how fast each way is.
#[derive(Debug)]
pub struct RateMonitor<'a> {
    compression_mode: &'a CompressionMode,
    contest: ModeController,
    /// What the compressors were told last.
    order: Order,
    left_to_swallow_bytes: u64,
}

impl RateMonitor<'_> {
    /// A block of `logical_bytes`, `wire_bytes` in frames, that went `mode` took the sender `time`, from the one before it on.
    pub fn sent(&mut self, mode: BlockMode, logical_bytes: u64, wire_bytes: u64, time: Duration) {
        if self.left_to_swallow_bytes > 0 {
            self.left_to_swallow_bytes = self.left_to_swallow_bytes.saturating_sub(wire_bytes);
            return;
        }
        self.compression_mode.is_judged.store(true, Ordering::Relaxed);
        let order = self.contest.sent(&RateSample { mode, logical_bytes, wire_bytes, time });
        if std::mem::replace(&mut self.order, order) != order {
            let stored = match order {
                Order::All(BlockMode::Stored) => ALL,
                Order::All(BlockMode::Adaptive) => 0,
                Order::Probe(blocks) => blocks,
            };
            self.compression_mode.stored_left.store(stored, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
