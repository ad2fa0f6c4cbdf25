use super::*;

fn scheduler(running_max: usize, running_max_per_class: usize) -> CloneScheduler {
    CloneScheduler::new(SchedulingPolicy { running_max, running_max_per_class, bandwidth_budget: None })
}

fn request(since: &str, class: &str) -> SlotRequest {
    SlotRequest { since: since.to_owned(), class: class.to_owned(), has_pods: false, is_stuck: false }
}

/// A clone without pods asks for a slot.
fn take(scheduler: &CloneScheduler, namespace: &str, name: &str, since: &str, class: &str) -> Slot {
    let (key, request, now) = (Key::new(namespace, name), request(since, class), Instant::now());
    let peeked = scheduler.peek(&key, &request, now);
    let taken = scheduler.take(&key, &request, now);
    assert_eq!(peeked, taken, "nothing changed in between");
    taken
}

/// A clone with pods keeps its slot. Returns whether it has to give way.
fn gives_way(scheduler: &CloneScheduler, name: &str, is_stuck: bool, now: Instant) -> bool {
    let request = SlotRequest { has_pods: true, is_stuck, ..request(name, "c") };
    scheduler.take(&Key::new("a", name), &request, now) == Slot::GiveWay
}

#[test]
fn the_younger_half_gives_way_when_no_clone_finds_room() {
    let scheduler = scheduler(9, 9);
    let (begin, later) = (Instant::now(), Instant::now() + GIVE_WAY_AFTER);
    for name in ["1", "2", "3", "4"] {
        assert!(!gives_way(&scheduler, name, true, begin));
    }
    let give_way = |at: Instant| ["1", "2", "3", "4"].map(|name| gives_way(&scheduler, name, true, at));
    assert_eq!(give_way(later), [false, false, true, true]);
    assert_eq!(give_way(later), [false, false, true, true], "the others get more time");
    assert_eq!(give_way(later + GIVE_WAY_AFTER), [false, true, true, true]);
    assert!(!gives_way(&scheduler, "4", false, later), "its pods found room");
    scheduler.release(&Key::new("a", "4"));
    let Slot::Queued { limit, .. } = take(&scheduler, "a", "4", "4", "c") else {
        panic!("it may start again")
    };
    assert!(limit.contains("no room"), "{limit}");
}

#[test]
fn one_more_clone_starts_after_each_one_that_ends() {
    let scheduler = scheduler(9, 9);
    let (begin, later) = (Instant::now(), Instant::now() + GIVE_WAY_AFTER);
    for name in ["1", "2", "3"] {
        gives_way(&scheduler, name, true, begin);
    }
    assert!(gives_way(&scheduler, "3", true, later));
    assert!(!gives_way(&scheduler, "1", false, later));
    assert!(!gives_way(&scheduler, "2", false, later));
    assert!(matches!(take(&scheduler, "a", "3", "3", "c"), Slot::Queued { .. }));
    scheduler.release(&Key::new("a", "1"));
    assert_eq!(take(&scheduler, "a", "3", "3", "c"), Slot::Free);
    assert_eq!(take(&scheduler, "a", "4", "4", "c"), Slot::Free, "two ran well, now three are tried");
    assert!(matches!(take(&scheduler, "a", "5", "5", "c"), Slot::Queued { .. }));
}

#[test]
fn a_clone_that_fits_nowhere_delays_others_only_for_a_while() {
    let scheduler = scheduler(9, 9);
    let long_ago = Instant::now();
    gives_way(&scheduler, "1", true, long_ago);
    let (other, request) = (Key::new("a", "2"), request("2", "c"));
    assert!(matches!(scheduler.take(&other, &request, long_ago + GIVE_WAY_AFTER), Slot::Queued { .. }));
    assert_eq!(scheduler.take(&other, &request, long_ago + STUCK_MATTERS), Slot::Free);
}

#[test]
fn no_more_clones_run_than_allowed_and_the_next_starts_when_one_ends() {
    let scheduler = scheduler(1, 9);
    assert_eq!(take(&scheduler, "a", "1", "1", ""), Slot::Free);
    assert!(matches!(take(&scheduler, "a", "2", "2", ""), Slot::Queued { position: 1, of: 1, .. }));
    assert!(matches!(take(&scheduler, "a", "3", "3", ""), Slot::Queued { position: 2, of: 2, .. }));
    assert_eq!(scheduler.release(&Key::new("a", "1")), [Key::new("a", "2")]);
    assert!(matches!(take(&scheduler, "a", "3", "3", ""), Slot::Queued { .. }));
    assert_eq!(take(&scheduler, "a", "2", "2", ""), Slot::Free);
}

#[test]
fn a_full_class_does_not_delay_another() {
    let scheduler = scheduler(9, 1);
    assert_eq!(take(&scheduler, "a", "1", "1", "slow"), Slot::Free);
    assert!(matches!(take(&scheduler, "a", "2", "2", "slow"), Slot::Queued { .. }));
    assert_eq!(take(&scheduler, "a", "3", "3", "fast"), Slot::Free);
}

#[test]
fn a_namespace_with_many_clones_does_not_keep_others_waiting() {
    let scheduler = scheduler(2, 9);
    assert_eq!(take(&scheduler, "many", "0", "0", ""), Slot::Free);
    assert_eq!(take(&scheduler, "many", "1", "1", ""), Slot::Free);
    for name in 2..9 {
        assert!(matches!(take(&scheduler, "many", &name.to_string(), "2", ""), Slot::Queued { .. }));
    }
    assert!(matches!(take(&scheduler, "few", "late", "9", ""), Slot::Queued { position: 1, .. }));
}

#[test]
fn a_clone_with_pods_runs_whatever_the_limit() {
    let scheduler = scheduler(1, 1);
    assert!(!gives_way(&scheduler, "1", false, Instant::now()));
    assert!(!gives_way(&scheduler, "2", false, Instant::now()));
    assert_eq!(scheduler.counts(), (2, 0));
    assert_eq!(take(&scheduler, "a", "2", "2", "c"), Slot::Free);
}

#[test]
fn a_peek_takes_nothing_and_a_slot_goes_to_the_first_that_takes_it() {
    let scheduler = scheduler(1, 9);
    let (one, other, now) = (Key::new("a", "1"), Key::new("a", "2"), Instant::now());
    for key in [&one, &other, &one] {
        assert_eq!(scheduler.peek(key, &request("1", "c"), now), Slot::Free);
    }
    assert_eq!(scheduler.counts(), (0, 0));
    assert_eq!(scheduler.take(&other, &request("1", "c"), now), Slot::Free);
    assert!(matches!(scheduler.take(&one, &request("1", "c"), now), Slot::Queued { position: 1, .. }));
    assert_eq!(scheduler.counts(), (1, 1));
}
