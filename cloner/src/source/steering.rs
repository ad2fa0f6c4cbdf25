//! When the next frames go out, and how later ones are made: the limit on bandwidth and the judge of ways, asked where all
//! frames of a clone go by in order.

use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::units::Rate;

use super::choose::{Choice, Judge, Way};
use super::pace::Pace;

/// Sees every block of frames on its way out.
pub struct Steering<'a> {
    pace: Pace,
    judge: Option<Judge<'a>>,
    /// When the block before was gone.
    before: Instant,
}

impl<'a> Steering<'a> {
    /// Keeps to `limit`, and judges for `choice` what goes out over `connections`.
    pub fn new(limit: Option<Rate>, choice: &'a Choice, connections: usize) -> Self {
        Self { pace: Pace::new(limit), judge: choice.judge(connections), before: Instant::now() }
    }

    /// Waits until `wire_bytes` more may go out.
    pub fn wait(&mut self, wire_bytes: usize, stop: &Stop) {
        self.pace.wait(wire_bytes, stop);
    }

    /// Frames of `wire_bytes`, which stand for `logical_bytes`, are gone; data among them went `way`.
    pub fn sent(&mut self, way: Option<Way>, logical_bytes: u64, wire_bytes: u64) {
        let took = self.before.elapsed();
        self.before += took;
        if let (Some(judge), Some(way)) = (&mut self.judge, way) {
            judge.sent(way, logical_bytes, wire_bytes, took);
        }
    }
}
