//! Whether a block is offered to the compressor; `snappy/encode.rs` still stores a chunk that would shrink by less than an eighth. The
//! only entry is [`CompressionMode`], which the reader, the compressors and the sender
//! share; the sender reports to its [`RateMonitor`].
//!
//! Two modes are compared by their throughput. `Stored` sends data as it is, which is right if compression, or
//! decompression at the other end, is the bottleneck. `Adaptive` compresses a block while the socket is full or frames
//! wait for the sender, and stores it when the sender waits for it. This is right if the network is the bottleneck.
//!
//! How the mode is chosen, which only `Compression::Auto` has:
//! 1. A clone begins `Adaptive`. The first 5 MiB on the wire fill socket buffers and are not judged.
//! 2. The mode with the higher throughput leads; where both are equal, `Stored` does, which spares the processor.
//! 3. The other mode is tried on 4 MiB at a time, with exponential back-off while it loses.
//! 4. A trial starts only if all trials together cost at most 2 % of the elapsed time (plus 40 ms). It ends early
//!    when it is less than half as fast.
//! 5. After a lasting change of the leader's own throughput, the next trial is due immediately.

mod controller;
mod sample;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::send::compression::controller::{ModeController, Order};
use crate::send::compression::sample::RateSample;

/// The number of bytes on the wire that fill socket buffers (Linux: at most 4 MiB, most of it at the beginning) before
/// the speed of a slow network shows. Until then everything is compressed.
const SWALLOWED_BYTES: u64 = 5 << 20;
/// A socket that was full this recently still has much to send, even if the sender waits: Linux wakes the sender when a
/// third of the buffer is free, and bursts fill that third.
const FULL_LATELY: Duration = Duration::from_millis(50);

/// No limit on the number of stored blocks.
const ALL: u32 = u32::MAX;

/// What the user wants to compress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Whatever is faster, block by block.
    #[default]
    Auto,
    /// Every block that gets smaller.
    Always,
    /// No block.
    Never,
}

/// How a block is turned into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMode {
    /// Compressed while the sender has enough to send; stored if the sender waits for this block.
    Adaptive,
    /// Stored as it is.
    Stored,
}

/// The state that the sender and the compressors share.
#[derive(Debug)]
pub struct CompressionMode {
    compression: Compression,
    /// The number of further blocks that are stored: zero, [`ALL`], or the blocks of a probe.
    stored_left: AtomicU32,
    /// Whether the network's speed is visible.
    is_judged: AtomicBool,
    began: Instant,
    /// The last time when the socket was full, in microseconds since `began`.
    full_at_micros: AtomicU64,
}

impl CompressionMode {
    /// Starts with compressing: on a slow network the first megabytes cost the most.
    pub fn new(compression: Compression) -> Self {
        let stored_left = AtomicU32::new(if compression == Compression::Never { ALL } else { 0 });
        Self {
            compression,
            stored_left,
            is_judged: AtomicBool::new(false),
            began: Instant::now(),
            full_at_micros: AtomicU64::new(0),
        }
    }

    /// The mode of the next block, according to what is known now.
    pub fn mode(&self) -> BlockMode {
        if self.stored_left.load(Ordering::Relaxed) > 0 { BlockMode::Stored } else { BlockMode::Adaptive }
    }

    /// The mode of a block that is about to be encoded.
    pub fn take_mode(&self) -> BlockMode {
        let take = |left| if left == ALL { Some(ALL) } else { u32::checked_sub(left, 1) };
        match self.stored_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => BlockMode::Stored,
            Err(_) => BlockMode::Adaptive,
        }
    }

    /// Whether a block in `mode` is compressed. `is_awaited` means that the sender has nothing else to send.
    pub fn compresses(&self, mode: BlockMode, is_awaited: bool) -> bool {
        match self.compression {
            Compression::Always => true,
            Compression::Never => false,
            Compression::Auto => {
                mode == BlockMode::Adaptive && !(is_awaited && self.may_starve(self.began.elapsed()))
            }
        }
    }

    /// Whether the socket of a sender that waits for frames may be empty, too. `now` is the time since the beginning.
    fn may_starve(&self, now: Duration) -> bool {
        let full_at = Duration::from_micros(self.full_at_micros.load(Ordering::Relaxed));
        let is_full = full_at > Duration::ZERO && now.saturating_sub(full_at) < FULL_LATELY;
        self.is_judged.load(Ordering::Relaxed) && !is_full
    }

    /// Notes that a sender had to wait until now because its socket was full.
    pub fn was_full(&self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.full_at_micros.store(micros.max(1), Ordering::Relaxed);
    }

    /// The monitor of everything that is sent over `connections`; `None` if there is no choice of modes.
    pub fn monitor(&self, connections: usize) -> Option<RateMonitor<'_>> {
        let left_to_swallow_bytes = SWALLOWED_BYTES.saturating_mul(connections as u64);
        let monitor = || RateMonitor {
            compression_mode: self,
            controller: ModeController::new(left_to_swallow_bytes),
            order: Order::All(BlockMode::Adaptive),
            left_to_swallow_bytes,
        };
        (self.compression == Compression::Auto).then(monitor)
    }
}

/// Measures the speed of each mode for the sender.
#[derive(Debug)]
pub struct RateMonitor<'a> {
    compression_mode: &'a CompressionMode,
    controller: ModeController,
    /// The last order that the compressors got.
    order: Order,
    left_to_swallow_bytes: u64,
}

impl RateMonitor<'_> {
    /// Records that a block of `logical_bytes`, with `wire_bytes` in frames, was sent in `mode`. It took `time` since
    /// the previous block.
    pub fn sent(&mut self, mode: BlockMode, logical_bytes: u64, wire_bytes: u64, time: Duration) {
        if self.left_to_swallow_bytes > 0 {
            self.left_to_swallow_bytes = self.left_to_swallow_bytes.saturating_sub(wire_bytes);
            return;
        }
        self.compression_mode.is_judged.store(true, Ordering::Relaxed);
        let order = self.controller.sent(&RateSample { mode, logical_bytes, wire_bytes, time });
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
