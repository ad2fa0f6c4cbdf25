//! Populations that other users and faults do not touch, or touch at each of their calls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use decant_controller::objects::Kind;
use decant_controller_test_support::kubernetes::{Fault, key};
use decant_controller_test_support::running_cluster::last;

use crate::scenarios::{Scenario, all, assert_complete, assert_gone, target};

/// Which calls a test disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    All,
    /// Those that change something. To a reader it makes no difference before which of its reads something happens.
    Writes,
}

/// The numbers of the calls of an undisturbed population.
fn calls(scenario: Scenario, which: Calls) -> Vec<usize> {
    let mut world = scenario.world();
    scenario.run(&mut world);
    assert_complete(scenario, &world, "undisturbed");
    let trace = world.kubernetes.lock().trace.clone();
    let is_read = |call: &str| call.contains(" get ") || call.contains(" list ");
    (1..)
        .zip(&trace)
        .filter(|(_, call)| which == Calls::All || !is_read(call))
        .map(|(number, _)| number)
        .collect()
}

/// Runs `test` for each of these calls of each scenario, on all processors.
fn for_each_call(which: Calls, test: impl Fn(Scenario, usize) + Sync) {
    let jobs: Vec<(Scenario, usize)> = all()
        .into_iter()
        .flat_map(|scenario| calls(scenario, which).into_iter().map(move |call| (scenario, call)))
        .collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((scenario, call)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = std::panic::AssertUnwindSafe(|| test(*scenario, *call));
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} runs failed, for example: {}",
        failures.len(),
        jobs.len(),
        failures[0]
    );
}

#[test]
fn a_population_ends_with_the_whole_volume_and_leaves_nothing() {
    for scenario in all() {
        assert!(calls(scenario, Calls::Writes).len() > 15);
    }
}

#[test]
fn a_call_that_fails_only_delays_a_population() {
    for_each_call(Calls::All, |scenario, call| {
        let mut world = scenario.world();
        world.kubernetes.fail_at(call, Fault::Fails);
        scenario.run(&mut world);
        assert_complete(scenario, &world, &format!("call {call} failed"));
    });
}

#[test]
fn an_answer_that_is_lost_only_delays_a_population() {
    for_each_call(Calls::Writes, |scenario, call| {
        let mut world = scenario.world();
        world.kubernetes.fail_at(call, Fault::AnswerLost);
        scenario.run(&mut world);
        assert_complete(scenario, &world, &format!("the answer to call {call} was lost"));
    });
}

#[test]
fn a_controller_that_ends_after_any_call_is_continued_by_the_next_one() {
    for_each_call(Calls::Writes, |scenario, call| {
        let mut world = scenario.world();
        world.kubernetes.fail_at(call, Fault::Kills);
        scenario.run(&mut world);
        assert_eq!(world.starts, 2, "{:#?}", last(&world.kubernetes));
        assert_complete(scenario, &world, &format!("killed after call {call}"));
    });
}

#[test]
fn watches_that_are_behind_do_no_harm() {
    for scenario in all() {
        for lag in 1..=4 {
            let mut world = scenario.world();
            world.lag = lag;
            scenario.run(&mut world);
            assert_complete(scenario, &world, &format!("the watches are {lag} changes behind"));
        }
    }
}

#[test]
fn a_target_that_is_deleted_after_any_call_leaves_nothing() {
    for lag in [0, 1] {
        for_each_call(Calls::Writes, |scenario, call| {
            let mut world = scenario.world();
            world.lag = lag;
            world.kubernetes.after_call(call, move |state| scenario.withdraw_in(state));
            scenario.run(&mut world);
            if world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).is_some() {
                return assert_complete(scenario, &world, "it was complete before");
            }
            assert_gone(scenario, &world, &format!("deleted after call {call}"));
        });
    }
}

#[test]
fn a_controller_that_ends_while_a_target_goes_leaves_nothing() {
    for_each_call(Calls::Writes, |scenario, call| {
        // The deletion itself needs few calls.
        for kill in [call, call + 1, call + 3] {
            let mut world = scenario.world();
            world.kubernetes.after_call(call, move |state| scenario.withdraw_in(state));
            world.kubernetes.fail_at(kill, Fault::Kills);
            scenario.run(&mut world);
            assert_gone(scenario, &world, &format!("deleted after call {call}, killed after call {kill}"));
        }
    });
}

#[test]
fn a_target_that_is_created_again_gets_its_own_clone() {
    for_each_call(Calls::Writes, |scenario, call| {
        let mut world = scenario.world();
        world.lag = 1;
        world.kubernetes.after_call(call, move |state| scenario.withdraw_in(state));
        scenario.run(&mut world);
        if world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).is_some() {
            return;
        }
        scenario.ask(&world.kubernetes);
        scenario.run(&mut world);
        let volumes = crate::scenarios::volumes(&world.kubernetes);
        let kept: Vec<_> = volumes.iter().filter(|volume| volume["status"]["phase"] == "Released").collect();
        assert!(kept.is_empty() || scenario.policy == "Retain", "{kept:#?}");
        for volume in kept {
            let name = key(volume);
            world.kubernetes.user_delete(Kind::PersistentVolume, &name);
        }
        world.settle();
        assert_complete(scenario, &world, &format!("created again after a deletion after call {call}"));
    });
}
