//! Consecutive blocks in one mode, and their speed.

use std::time::Duration;

use crate::send::compression::BlockMode;

/// The number of logical bytes by which a mode is judged: enough to even out scheduler delays, and few enough if it is
/// the wrong mode.
pub(super) const SPAN_BYTES: u64 = 4 << 20;
/// The minimum time for which a mode is judged, on fast networks.
const SPAN: Duration = Duration::from_millis(15);

/// Bytes per second. Speeds are only compared with each other.
pub(super) type Speed = f64;

/// A block that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateSample {
    pub(super) mode: BlockMode,
    pub(super) logical_bytes: u64,
    pub(super) wire_bytes: u64,
    /// The time since the end of the previous block.
    pub(super) time: Duration,
}

/// Consecutive blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    /// The number of bytes on the wire until previous blocks have left the sockets.
    settling_bytes: u64,
    blocks: u32,
    logical_bytes: u64,
    wire_bytes: u64,
    time: Duration,
}

impl Span {
    /// A span that starts after `settling_bytes` were sent.
    pub(super) fn after(settling_bytes: u64) -> Self {
        Self { settling_bytes, ..Self::default() }
    }

    pub(super) fn add(&mut self, sent: &RateSample) {
        self.blocks += 1;
        if self.settling_bytes > 0 {
            self.settling_bytes = self.settling_bytes.saturating_sub(sent.wire_bytes);
            return;
        }
        self.logical_bytes += sent.logical_bytes;
        self.wire_bytes += sent.wire_bytes;
        self.time += sent.time;
    }

    /// The number of blocks, including those that only settled.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// Whether the span is `times` as long as is needed to judge a mode.
    pub(super) fn is_long(&self, times: u32) -> bool {
        self.logical_bytes >= SPAN_BYTES * u64::from(times) && self.time >= SPAN * times
    }

    /// Whether the span contains anything that is judged.
    pub(super) fn has_speed(&self) -> bool {
        self.logical_bytes > 0
    }

    /// Logical bytes per second.
    pub(super) fn speed(&self) -> Speed {
        per_second(self.logical_bytes, self.time)
    }

    /// Logical bytes per byte on the wire.
    pub(super) fn packing(&self) -> f64 {
        self.logical_bytes as f64 / self.wire_bytes.max(1) as f64
    }
}

fn per_second(bytes: u64, time: Duration) -> Speed {
    bytes as f64 / time.as_secs_f64().max(1e-9)
}
