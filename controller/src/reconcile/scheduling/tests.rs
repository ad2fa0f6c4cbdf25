use super::*;

fn line(running_max: usize, running_max_per_class: usize) -> CloneScheduler {
    CloneScheduler::new(SchedulingPolicy { running_max, running_max_per_class })
}

fn ask(line: &CloneScheduler, namespace: &str, name: &str, since: &str, class: &str) -> Turn {
    let pending = PendingClone { since: since.to_owned(), class: class.to_owned() };
    line.ask(&Key::new(namespace, name), pending, Instant::now())
}

fn runs(line: &CloneScheduler, name: &str, stuck: bool, now: Instant) -> bool {
    let pending = PendingClone { since: name.to_owned(), class: "c".to_owned() };
    line.runs(&Key::new("a", name), pending, stuck, now)
}

#[test]
fn the_younger_half_gives_way_when_no_clone_finds_room() {
    let line = line(9, 9);
    let (begin, later) = (Instant::now(), Instant::now() + GIVE_WAY_AFTER);
    for name in ["1", "2", "3", "4"] {
        assert!(!runs(&line, name, true, begin));
    }
    let give_way = |at: Instant| ["1", "2", "3", "4"].map(|name| runs(&line, name, true, at));
    assert_eq!(give_way(later), [false, false, true, true]);
    assert_eq!(give_way(later), [false, false, true, true], "the others get some more time");
    assert_eq!(give_way(later + GIVE_WAY_AFTER), [false, true, true, true]);
    assert!(!runs(&line, "4", false, later), "it found room after all");
    line.release(&Key::new("a", "4"));
    let Turn::Wait { limit, .. } = ask(&line, "a", "4", "4", "c") else { panic!("it may start again") };
    assert!(limit.contains("no room"), "{limit}");
}

#[test]
fn one_more_is_tried_after_each_that_ends() {
    let line = line(9, 9);
    let (begin, later) = (Instant::now(), Instant::now() + GIVE_WAY_AFTER);
    for name in ["1", "2", "3"] {
        runs(&line, name, true, begin);
    }
    assert!(runs(&line, "3", true, later));
    assert!(!runs(&line, "1", false, later));
    assert!(!runs(&line, "2", false, later));
    assert!(matches!(ask(&line, "a", "3", "3", "c"), Turn::Wait { .. }));
    line.release(&Key::new("a", "1"));
    assert_eq!(ask(&line, "a", "3", "3", "c"), Turn::Now);
    assert_eq!(ask(&line, "a", "4", "4", "c"), Turn::Now, "two ran well, now three are tried");
    assert!(matches!(ask(&line, "a", "5", "5", "c"), Turn::Wait { .. }));
}

#[test]
fn one_that_fits_nowhere_does_not_keep_others_waiting_for_ever() {
    let line = line(9, 9);
    let long_ago = Instant::now();
    runs(&line, "1", true, long_ago);
    let pending = || PendingClone { since: "2".to_owned(), class: "c".to_owned() };
    let other = Key::new("a", "2");
    assert!(matches!(line.ask(&other, pending(), long_ago + GIVE_WAY_AFTER), Turn::Wait { .. }));
    assert_eq!(line.ask(&other, pending(), long_ago + STUCK_MATTERS), Turn::Now);
}

#[test]
fn no_more_run_than_allowed_and_the_next_starts_when_one_leaves() {
    let line = line(1, 9);
    assert_eq!(ask(&line, "a", "1", "1", ""), Turn::Now);
    assert!(matches!(ask(&line, "a", "2", "2", ""), Turn::Wait { position: 1, of: 1, .. }));
    assert!(matches!(ask(&line, "a", "3", "3", ""), Turn::Wait { position: 2, of: 2, .. }));
    assert_eq!(line.release(&Key::new("a", "1")), [Key::new("a", "2")]);
    assert!(matches!(ask(&line, "a", "3", "3", ""), Turn::Wait { .. }));
    assert_eq!(ask(&line, "a", "2", "2", ""), Turn::Now);
}

#[test]
fn a_full_class_does_not_hold_up_another() {
    let line = line(9, 1);
    assert_eq!(ask(&line, "a", "1", "1", "slow"), Turn::Now);
    assert!(matches!(ask(&line, "a", "2", "2", "slow"), Turn::Wait { .. }));
    assert_eq!(ask(&line, "a", "3", "3", "fast"), Turn::Now);
}

#[test]
fn a_namespace_with_many_does_not_keep_others_waiting() {
    let line = line(2, 9);
    assert_eq!(ask(&line, "many", "0", "0", ""), Turn::Now);
    assert_eq!(ask(&line, "many", "1", "1", ""), Turn::Now);
    for name in 2..9 {
        assert!(matches!(ask(&line, "many", &name.to_string(), "2", ""), Turn::Wait { .. }));
    }
    assert!(matches!(ask(&line, "few", "late", "9", ""), Turn::Wait { position: 1, .. }));
}

#[test]
fn a_clone_with_pods_runs_whatever_the_limit() {
    let line = line(1, 1);
    assert!(!runs(&line, "1", false, Instant::now()));
    assert!(!runs(&line, "2", false, Instant::now()));
    assert_eq!(line.counts(), (2, 0));
    assert_eq!(ask(&line, "a", "2", "2", "c"), Turn::Now);
}
