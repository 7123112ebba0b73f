//! The simulated world: it holds, it is the same every time, and its checkers find what is planted.

use std::process::Command;

use integration::world::play::{Outcome, Plant, play};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=100;
/// A planted mistake must be found within so many seeds.
const PLANTED_MAX: u64 = 400;

#[test]
fn every_run_ends_once_and_starts_at_most_once_whatever_fails() {
    let (mut crashes, mut losses) = (0, 0);
    for seed in SEEDS {
        let outcome = play(seed, Plant::Nothing, false);
        assert_eq!(outcome.failure, None, "seed {seed}: cargo x sim --seed {seed}");
        assert!(outcome.accepted > 0 && outcome.starts > 0, "seed {seed} does nothing");
        crashes += outcome.counts.get("crash").copied().unwrap_or(0);
        losses += outcome.counts.get("commit late").copied().unwrap_or(0);
    }
    assert!(crashes > 50 && losses > 20, "too little fails: {crashes} crashes, {losses} late commits");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let first = play(7, Plant::Nothing, false).hash;
    assert_eq!(play(7, Plant::Nothing, false).hash, first);
    assert_ne!(play(8, Plant::Nothing, false).hash, first);
    let other = Command::new(env!("CARGO_BIN_EXE_x")).args(["sim", "--seed", "7"]).output().unwrap();
    let text = String::from_utf8(other.stdout).unwrap();
    assert!(text.lines().any(|line| line == format!("trace {first:016x}")), "another process: {text}");
}

/// The first seed at which the checkers find what is planted.
fn found(plant: Plant) -> (u64, Outcome) {
    let played = (1..=PLANTED_MAX).map(|seed| (seed, play(seed, plant, false)));
    played
        .into_iter()
        .find(|(_, outcome)| outcome.failure.is_some())
        .expect("the planted mistake is never found")
}

#[test]
fn a_skipped_start_gate_is_found() {
    let (seed, outcome) = found(Plant::GateSkipped);
    let failure = outcome.failure.unwrap_or_default();
    assert!(failure.contains("started on"), "seed {seed} fails for another reason: {failure}");
}

#[test]
fn a_dropped_due_row_is_found() {
    let (seed, outcome) = found(Plant::DueDropped);
    let failure = outcome.failure.unwrap_or_default();
    assert!(failure.contains("never ended"), "seed {seed} fails for another reason: {failure}");
}
