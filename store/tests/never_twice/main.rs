//! Never twice, checked exhaustively on a small model; the argument in words is `docs/never-twice.md`. Every mistake
//! that is made on purpose must be found: a search that cannot find them proves nothing.

mod model;
mod search;

use model::{Config, Mistake, State};
use search::{Found, search};

/// Before the gate everything is decided by compare-and-set: no time is needed, but reboots and deleted Pods are.
fn ordinary(mistake: Mistake) -> Found {
    let config = Config { rerun: false, ticks: 0, reboots: 1, deletes: true, mistake };
    search(State::first(), |state, out| state.next(&config, out), State::started_once)
}

/// With `rerun-after-loss` it is time that decides, where the provider does not.
fn rerun(mistake: Mistake) -> Found {
    let config = Config { rerun: true, ticks: 4, reboots: 0, deletes: false, mistake };
    search(State::claimed(), |state, out| state.next(&config, out), State::alive_once)
}

fn told(found: &Found) -> String {
    format!("{} states, {} steps deep", found.states, found.depth)
}

#[test]
fn user_code_of_a_try_starts_at_most_once() {
    let found = ordinary(Mistake::Nothing);
    println!("ordinary: {}", told(&found));
    assert_eq!(found.broken, None);
    for step in ["a go arrives", "a machine reboots", "a late commit is done", "another attempt is made"] {
        assert!(found.steps.contains(step), "the model never does this: {step}");
    }
}

#[test]
fn a_run_that_is_run_again_never_runs_twice_at_the_same_time() {
    let found = rerun(Mistake::Nothing);
    println!("rerun: {}", told(&found));
    assert_eq!(found.broken, None);
    for step in ["a lease arrives", "a lease runs out", "a machine wakes up", "another attempt is made"] {
        assert!(found.steps.contains(step), "the model never does this: {step}");
    }
}

#[test]
fn every_mistake_about_the_gate_is_found() {
    for mistake in [
        Mistake::GateSkipped,
        Mistake::GateUnconditional,
        Mistake::RebootBurnForgotten,
        Mistake::EarlierNotRevoked,
    ] {
        let found = ordinary(mistake);
        println!("{mistake:?}: {}: {:?}", told(&found), found.broken);
        assert!(found.broken.is_some(), "{mistake:?} is not found");
    }
}

#[test]
fn every_mistake_about_leases_is_found() {
    for mistake in [
        Mistake::RevocationNotAwaited,
        Mistake::AbsenceIsDeath,
        Mistake::LeaseFromAnswer,
        Mistake::StaleView,
        Mistake::SkewForgotten,
        Mistake::SuspendNotCounted,
        Mistake::TimerInAgent,
    ] {
        let found = rerun(mistake);
        println!("{mistake:?}: {}: {:?}", told(&found), found.broken);
        assert!(found.broken.is_some(), "{mistake:?} is not found");
    }
}
