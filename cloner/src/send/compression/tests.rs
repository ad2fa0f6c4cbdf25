use super::*;
use std::collections::VecDeque;

use decant_test_support::noise::Numbers;

const BLOCK_BYTES: u64 = 256 << 10;
/// The number of blocks between a decision and the sender.
const IN_FLIGHT: usize = 10;
/// The number of bytes that the sockets hold.
const SOCKET_BYTES: u64 = 4 << 20;

/// What is after the sender: sockets with limited space, then a network and a target that process one block at a time.
#[derive(Default)]
struct Line {
    /// The bytes of each block in the sockets, and the time when the last of them leaves.
    blocks: VecDeque<(u64, Duration)>,
    held_bytes: u64,
    now: Duration,
}

impl Line {
    /// Sends a block that needs the time `work` on its way to the disk. Returns how long the sender had to wait.
    fn send(&mut self, wire_bytes: u64, work: Duration) -> Duration {
        let before = self.now;
        let idle_from = self.blocks.back().map_or(self.now, |last| last.1);
        self.blocks.push_back((wire_bytes, idle_from.max(self.now) + work));
        self.held_bytes += wire_bytes;
        while self.held_bytes > SOCKET_BYTES || self.blocks.front().is_some_and(|first| first.1 <= self.now) {
            let (wire_bytes, gone_at) = self.blocks.pop_front().unwrap();
            self.held_bytes -= wire_bytes;
            self.now = self.now.max(gone_at);
        }
        self.now - before
    }

    /// The time when everything is written.
    fn end(&self) -> Duration {
        self.blocks.back().map_or(self.now, |last| last.1)
    }
}

/// Sends `blocks` blocks over a line on which each mode has its speed, in MB/s. Returns the elapsed time, the number of
/// mode changes, and the share of compressed blocks.
fn run(blocks: usize, speeds: impl Fn(usize, BlockMode) -> u64) -> (Duration, usize, f64) {
    let compression_mode = CompressionMode::new(Compression::Auto);
    let mut monitor = compression_mode.monitor(1).unwrap();
    let mut queue: VecDeque<BlockMode> = (0..IN_FLIGHT).map(|_| compression_mode.take_mode()).collect();
    let (mut line, mut changes, mut mixed) = (Line::default(), 0, 0);
    for at in 0..blocks {
        queue.push_back(compression_mode.take_mode());
        changes += usize::from(queue[IN_FLIGHT] != queue[IN_FLIGHT - 1]);
        let mode = queue.pop_front().unwrap();
        mixed += usize::from(mode == BlockMode::Adaptive);
        // If the network is the bottleneck, compressing gains as much as the data shrinks.
        let (mixed, stored) = (speeds(at, BlockMode::Adaptive), speeds(at, BlockMode::Stored));
        let packed_bytes = if mixed > stored { BLOCK_BYTES * stored / mixed } else { BLOCK_BYTES / 2 };
        let wire_bytes = if mode == BlockMode::Adaptive { packed_bytes } else { BLOCK_BYTES };
        let speed = if mode == BlockMode::Adaptive { mixed } else { stored };
        let time = line.send(wire_bytes, Duration::from_nanos(BLOCK_BYTES * 1000 / speed));
        monitor.sent(mode, BLOCK_BYTES, wire_bytes, time);
    }
    (line.end(), changes, mixed as f64 / blocks as f64)
}

/// The time that the clone takes in one mode only.
fn alone(blocks: usize, speed: u64) -> Duration {
    Duration::from_nanos(BLOCK_BYTES * 1000 / speed) * u32::try_from(blocks).unwrap()
}

fn assert_close(took: Duration, best: Duration) {
    let ratio = took.as_secs_f64() / best.as_secs_f64();
    assert!(ratio < 1.05, "{ratio:.3} times as long as the better mode");
}

#[test]
fn a_slow_network_gets_compressed_data() {
    let (took, _, mixed) = run(4096, |_, mode| if mode == BlockMode::Adaptive { 40 } else { 12 });
    assert_close(took, alone(4096, 40));
    assert!(mixed > 0.95, "{mixed}");
}

#[test]
fn where_compressing_is_the_slower_part_data_is_stored() {
    let (took, _, mixed) = run(4096, |_, mode| if mode == BlockMode::Adaptive { 400 } else { 1000 });
    assert_close(took, alone(4096, 1000));
    assert!(mixed < 0.05, "{mixed}");
}

#[test]
fn where_both_are_the_same_the_processor_is_spared_and_nothing_flutters() {
    let (_, changes, mixed) = run(20_000, |_, _| 500);
    assert!(mixed < 0.05, "{mixed}");
    assert!(changes <= 12, "{changes} changes");
}

#[test]
fn it_notices_when_the_network_becomes_slow() {
    let speeds = |at, mode| match (at < 4096, mode) {
        (true, BlockMode::Adaptive) => 400,
        (true, BlockMode::Stored) => 1000,
        (false, BlockMode::Adaptive) => 200,
        (false, BlockMode::Stored) => 60,
    };
    let (took, ..) = run(40_000, speeds);
    let best = alone(4096, 1000) + alone(40_000 - 4096, 200);
    assert_close(took, best);
}

#[test]
fn a_burst_does_not_make_the_other_way_worth_a_trial() {
    let speeds = |at, mode| match mode {
        BlockMode::Adaptive if (at / 16) % 20 == 19 => 70,
        BlockMode::Adaptive => 36,
        BlockMode::Stored => 11,
    };
    let (.., mixed) = run(8192, speeds);
    assert!(mixed > 0.98, "{mixed}");
}

#[test]
fn noise_of_a_fifth_does_not_make_it_flutter() {
    let chance = std::cell::RefCell::new(chance(1));
    let (_, changes, _) = run(20_000, |_, mode| {
        let speed = if mode == BlockMode::Adaptive { 300 } else { 500 };
        speed * (80 + (chance.borrow_mut())() * 2 / 5) / 100
    });
    assert!(changes <= 12, "{changes} changes");
}

/// Pseudorandom numbers from 0 to 99.
fn chance(seed: u64) -> impl FnMut() -> u64 {
    let mut numbers = Numbers::new(seed);
    move || numbers.below(100)
}

#[test]
fn hiccups_of_a_busy_machine_leave_no_clone_on_the_slower_way() {
    for seed in 0..200 {
        let chance = std::cell::RefCell::new(chance(seed));
        // One block in 100 waits for 5 ms.
        let (took, _, mixed) = run(4096, |_, mode| match ((chance.borrow_mut())(), mode) {
            (0, _) => 52,
            (_, BlockMode::Adaptive) => 600,
            (_, BlockMode::Stored) => 1000,
        });
        assert!(mixed < 0.2, "{mixed} of it compressed with seed {seed}, in {took:?}");
    }
}

#[test]
fn trials_cost_little_on_a_network_of_any_speed() {
    // Clones of 1 to 60 seconds on 100 Mbit/s, 300 Mbit/s and 1 Gbit/s.
    for (mixed, stored) in [(24, 12), (36, 12), (110, 37), (230, 117), (375, 117)] {
        for secs in [1, 2, 5, 10, 60] {
            let blocks = usize::try_from(secs * mixed * 1_000_000 / BLOCK_BYTES).unwrap();
            let (took, ..) = run(blocks, |_, mode| if mode == BlockMode::Adaptive { mixed } else { stored });
            let ratio = took.as_secs_f64() / alone(blocks, mixed).as_secs_f64();
            let limit = if secs == 1 {
                1.08
            } else if secs < 60 {
                1.05
            } else {
                1.025
            };
            assert!(ratio < limit, "{ratio:.3} times as long as with `always`: {mixed} MB/s for {secs} s");
        }
    }
}

#[test]
fn always_and_never_mean_it() {
    for (compression, expected) in [(Compression::Always, true), (Compression::Never, false)] {
        let compression_mode = CompressionMode::new(compression);
        assert!(compression_mode.monitor(1).is_none());
        for is_awaited in [false, true] {
            assert_eq!(compression_mode.compresses(compression_mode.mode(), is_awaited), expected);
        }
    }
}

#[test]
fn a_sender_that_waits_gets_its_block_at_once() {
    let compression_mode = CompressionMode::new(Compression::Auto);
    let mut monitor = compression_mode.monitor(1).unwrap();
    let mut send = |blocks: u64| {
        (0..blocks).for_each(|_| {
            monitor.sent(BlockMode::Adaptive, BLOCK_BYTES, BLOCK_BYTES, Duration::from_micros(1));
        });
    };
    send(SWALLOWED_BYTES / BLOCK_BYTES);
    assert!(
        compression_mode.compresses(BlockMode::Adaptive, true),
        "the sockets swallow what comes first, whatever the network"
    );
    send(1);
    assert!(compression_mode.compresses(BlockMode::Adaptive, false));
    assert!(!compression_mode.compresses(BlockMode::Adaptive, true));
    assert!(!compression_mode.compresses(BlockMode::Stored, false));
}

#[test]
fn a_sender_with_a_full_socket_does_not_starve() {
    let compression_mode = CompressionMode::new(Compression::Auto);
    let mut monitor = compression_mode.monitor(1).unwrap();
    for _ in 0..=SWALLOWED_BYTES / BLOCK_BYTES {
        monitor.sent(BlockMode::Adaptive, BLOCK_BYTES, BLOCK_BYTES, Duration::from_micros(1));
    }
    assert!(compression_mode.may_starve(Duration::ZERO));
    compression_mode.was_full();
    let full_at = Duration::from_micros(compression_mode.full_at_micros.load(Ordering::Relaxed));
    assert!(!compression_mode.may_starve(full_at));
    assert!(!compression_mode.may_starve(full_at + FULL_LATELY / 2));
    assert!(compression_mode.may_starve(full_at + FULL_LATELY));
}
