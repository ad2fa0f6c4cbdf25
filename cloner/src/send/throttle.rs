//! Decides when the next frames are sent, and reports to the rate monitor, which decides how later blocks are encoded.
//! All frames of a clone pass here in order.

use std::time::Instant;

use decant_shared::process::stop::Stop;

use crate::pipeline::rate_limiter::RateLimiter;
use crate::send::block::EncodedBlock;
use crate::send::compression::{BlockMode, CompressionMode, RateMonitor};

/// Sees every block of frames when it is sent.
pub struct Throttle<'a> {
    rate_limiter: &'a RateLimiter,
    monitor: Option<RateMonitor<'a>>,
    /// The time when the previous block was sent.
    previous: Instant,
}

impl<'a> Throttle<'a> {
    /// Keeps the rate that `rate_limiter` permits, and reports what is sent over `connections` to `compression_mode`.
    pub fn new(
        rate_limiter: &'a RateLimiter,
        compression_mode: &'a CompressionMode,
        connections: usize,
    ) -> Self {
        Self { rate_limiter, monitor: compression_mode.monitor(connections), previous: Instant::now() }
    }

    /// Waits until `block` may be sent. Returns early on a stop.
    pub fn wait(&mut self, block: &EncodedBlock, stop: &Stop) {
        self.rate_limiter.wait(block.wire.as_bytes().len(), stop);
    }

    /// Notes that a block was sent.
    pub fn sent(&mut self, block: BlockSize) {
        let took = self.previous.elapsed();
        self.previous += took;
        if let (Some(monitor), Some(mode)) = (&mut self.monitor, block.mode) {
            monitor.sent(mode, block.logical_bytes, block.wire_bytes, took);
        }
    }
}

/// What the throttle needs to know about a block that was sent.
#[derive(Clone, Copy)]
pub struct BlockSize {
    mode: Option<BlockMode>,
    logical_bytes: u64,
    wire_bytes: u64,
}

impl BlockSize {
    /// The size of `block`.
    pub fn of(block: &EncodedBlock) -> Self {
        let wire_bytes = block.wire.as_bytes().len() as u64;
        Self { mode: block.mode, logical_bytes: block.logical_bytes, wire_bytes }
    }
}
