//! The simulated world: it holds, it is the same every time, and its checkers find what is planted.

use std::collections::BTreeMap;
use std::process::Command;

use integration::commands::sim::found;
use integration::world::play::{Plant, play};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=300;
/// A planted mistake must be found within so many seeds.
const PLANTED_MAX: u64 = 400;

#[test]
fn whatever_fails_every_run_ends_as_it_must_and_everybody_sees_it() {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in SEEDS {
        let outcome = play(seed, Plant::Nothing, false);
        assert_eq!(outcome.failure, None, "seed {seed}: cargo x sim --seed {seed}");
        outcome.counts.iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
    }
    for much in ["cell crashes", "commit late", "user code starts", "change watched", "machine reboots"] {
        assert!(counts.get(much).copied().unwrap_or(0) > 20, "too little happens: {counts:?}");
    }
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

/// The checkers find `plant`, and what they say is one of `words`.
fn finds(plant: Plant, words: &[&str]) {
    finds_beside(plant, words, &[]);
}

/// The same; before that they may say something of `also`, which is what else comes of it.
fn finds_beside(plant: Plant, words: &[&str], also: &[&str]) {
    let mut from = 1;
    loop {
        let left = (PLANTED_MAX + 1).saturating_sub(from);
        let (seed, failure) = found(plant, from, left).expect("the planted mistake is never found");
        let says = |words: &[&str]| words.iter().any(|word| failure.contains(word));
        if says(words) {
            return;
        }
        assert!(says(also), "seed {seed} fails for another reason: {failure}");
        from = seed + 1;
    }
}

#[test]
fn a_skipped_start_gate_is_found() {
    finds(Plant::GateSkipped, &["no commit says so", "started on"]);
}

#[test]
fn a_revocation_that_is_not_awaited_is_found() {
    finds(Plant::RevocationNotAwaited, &["went from Some(Revoked)", "went from Some(Lost)", "started on"]);
}

#[test]
fn a_forgotten_burn_after_a_reboot_is_found() {
    finds(Plant::RebootBurnForgotten, &["started on"]);
}

#[test]
fn a_dropped_row_of_the_log_is_found() {
    finds(Plant::LogRowDropped, &["a watcher of"]);
}

#[test]
fn an_unchecked_epoch_is_found() {
    finds_beside(Plant::EpochNotChecked, &["epoch", "ended twice"], &["never ended"]);
}

#[test]
fn an_unknown_commit_that_is_taken_for_a_failure_is_found() {
    finds(Plant::UnknownIsFailure, &["was never there", "there are", "never ended"]);
}

#[test]
fn a_dropped_due_row_is_found() {
    finds(Plant::DueDropped, &["never ended", "left behind"]);
}
