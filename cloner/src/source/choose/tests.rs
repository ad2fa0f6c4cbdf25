use super::*;
use std::collections::VecDeque;

const BLOCK_BYTES: u64 = 256 << 10;
/// Blocks between a decision and the sender.
const IN_FLIGHT: usize = 6;

/// Sends `blocks` blocks over a line on which each way has its speed, in MB/s. Says how long it took, how often the way
/// changed, and what share of the blocks went compressed.
fn run(blocks: usize, speeds: impl Fn(usize, Way) -> u64) -> (Duration, usize, f64) {
    let choice = Choice::new(Compression::Auto);
    let mut judge = choice.judge(1).unwrap();
    let mut queue: VecDeque<Way> = (0..IN_FLIGHT).map(|_| choice.way()).collect();
    let (mut total, mut changes, mut mixed) = (Duration::ZERO, 0, 0);
    for at in 0..blocks {
        queue.push_back(choice.way());
        changes += usize::from(queue[IN_FLIGHT] != queue[IN_FLIGHT - 1]);
        let way = queue.pop_front().unwrap();
        mixed += usize::from(way == Way::Mixed);
        let time = Duration::from_nanos(BLOCK_BYTES * 1000 / speeds(at, way));
        total += time;
        judge.sent(way, BLOCK_BYTES, BLOCK_BYTES, time);
    }
    (total, changes, mixed as f64 / blocks as f64)
}

/// The time it takes when only one way is gone.
fn alone(blocks: usize, speed: u64) -> Duration {
    Duration::from_nanos(BLOCK_BYTES * 1000 / speed) * u32::try_from(blocks).unwrap()
}

fn assert_close(took: Duration, best: Duration) {
    let ratio = took.as_secs_f64() / best.as_secs_f64();
    assert!(ratio < 1.05, "{ratio:.3} times as long as the better way");
}

#[test]
fn a_slow_network_gets_compressed_data() {
    let (took, _, mixed) = run(4096, |_, way| if way == Way::Mixed { 40 } else { 12 });
    assert_close(took, alone(4096, 40));
    assert!(mixed > 0.95, "{mixed}");
}

#[test]
fn where_compressing_is_the_slower_part_data_is_stored() {
    let (took, _, mixed) = run(4096, |_, way| if way == Way::Mixed { 400 } else { 1000 });
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
    let speeds = |at, way| match (at < 4096, way) {
        (true, Way::Mixed) => 400,
        (true, Way::Stored) => 1000,
        (false, Way::Mixed) => 200,
        (false, Way::Stored) => 60,
    };
    let (took, ..) = run(40_000, speeds);
    let best = alone(4096, 1000) + alone(40_000 - 4096, 200);
    assert_close(took, best);
}

#[test]
fn a_burst_does_not_make_the_other_way_worth_a_trial() {
    let speeds = |at, way| match way {
        Way::Mixed if (at / 16) % 20 == 19 => 70,
        Way::Mixed => 36,
        Way::Stored => 11,
    };
    let (.., mixed) = run(8192, speeds);
    assert!(mixed > 0.98, "{mixed}");
}

#[test]
fn noise_of_a_fifth_does_not_make_it_flutter() {
    let mut state = 1_u64;
    let noisy = std::cell::RefCell::new(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        80 + (state >> 33) % 40
    });
    let (_, changes, _) = run(20_000, |_, way| {
        let speed = if way == Way::Mixed { 300 } else { 500 };
        speed * (noisy.borrow_mut())() / 100
    });
    assert!(changes <= 12, "{changes} changes");
}

#[test]
fn always_and_never_mean_it() {
    for (compression, expected) in [(Compression::Always, true), (Compression::Never, false)] {
        let choice = Choice::new(compression);
        assert!(choice.judge(1).is_none());
        for is_awaited in [false, true] {
            assert_eq!(choice.compresses(choice.way(), is_awaited), expected);
        }
    }
}

#[test]
fn a_sender_that_waits_gets_its_block_at_once() {
    let choice = Choice::new(Compression::Auto);
    let mut judge = choice.judge(1).unwrap();
    let mut send = |blocks: u64| {
        (0..blocks).for_each(|_| judge.sent(Way::Mixed, BLOCK_BYTES, BLOCK_BYTES, Duration::from_micros(1)));
    };
    send(SWALLOWED_BYTES / BLOCK_BYTES);
    assert!(
        choice.compresses(Way::Mixed, true),
        "the sockets swallow what comes first, whatever the network"
    );
    send(1);
    assert!(choice.compresses(Way::Mixed, false));
    assert!(!choice.compresses(Way::Mixed, true));
    assert!(!choice.compresses(Way::Stored, false));
}

#[test]
fn a_sender_that_waits_behind_a_full_socket_does_not_starve() {
    let choice = Choice::new(Compression::Auto);
    let mut judge = choice.judge(1).unwrap();
    for _ in 0..=SWALLOWED_BYTES / BLOCK_BYTES {
        judge.sent(Way::Mixed, BLOCK_BYTES, BLOCK_BYTES, Duration::from_micros(1));
    }
    assert!(choice.may_starve(Duration::ZERO));
    choice.was_full();
    let full_at = Duration::from_micros(choice.full_at_micros.load(Ordering::Relaxed));
    assert!(!choice.may_starve(full_at));
    assert!(!choice.may_starve(full_at + FULL_LATELY / 2));
    assert!(choice.may_starve(full_at + FULL_LATELY));
}
