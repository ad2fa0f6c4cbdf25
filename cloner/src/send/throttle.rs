//! When the next frames go out, and how later ones are made: the limit on bandwidth and the judge of ways, asked where all
//! frames of a clone go by in order.

use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::units::Rate;

use crate::send::compression::mode::BlockMode;
use crate::send::compression::{CompressionMode, RateMonitor};
use crate::send::rate_limiter::RateLimiter;

/// Sees every block of frames on its way out.
pub struct Throttle<'a> {
    rate_limiter: RateLimiter,
    judge: Option<RateMonitor<'a>>,
    /// When the block before was gone.
    before: Instant,
}

impl<'a> Throttle<'a> {
    /// Keeps to `limit`, and judges for `compression_mode` what goes out over `connections`.
    pub fn new(limit: Option<Rate>, compression_mode: &'a CompressionMode, connections: usize) -> Self {
        Self {
            rate_limiter: RateLimiter::new(limit),
            judge: compression_mode.judge(connections),
            before: Instant::now(),
        }
    }

    /// Waits until `wire_bytes` more may go out.
    pub fn wait(&mut self, wire_bytes: usize, stop: &Stop) {
        self.rate_limiter.wait(wire_bytes, stop);
    }

    /// Frames of `wire_bytes`, which stand for `logical_bytes`, are gone; data among them went `mode`.
    pub fn sent(&mut self, mode: Option<BlockMode>, logical_bytes: u64, wire_bytes: u64) {
        let took = self.before.elapsed();
        self.before += took;
        if let (Some(judge), Some(mode)) = (&mut self.judge, mode) {
            judge.sent(mode, logical_bytes, wire_bytes, took);
        }
    }
}
