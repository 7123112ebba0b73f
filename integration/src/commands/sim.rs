//! `cargo x sim`: the simulated world, seed by seed, on all cores; or one seed in words; or the planted mistakes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::commands::Clock;
use crate::world::play::{Outcome, Plant, play};
use crate::world::table;

/// Kinds of failure that are told.
const TOLD: usize = 20;
/// Trials of each planted mistake, and seeds of a trial.
pub const TRIALS: u64 = 20;
/// See [`TRIALS`].
pub const TRIAL_SEEDS: u64 = 500;

/// What to play.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    pub seeds: u64,
    /// Only this seed, told step by step.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Seeds for so many minutes, however many they are.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// Plants mistakes, and says within how many seeds the checkers find each of them.
    #[arg(long)]
    pub planted: bool,
}

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    counts: BTreeMap<&'static str, u64>,
    played: u64,
    failed: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.played += 1;
        for (kind, count) in &outcome.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        *self.counts.entry("run accepted").or_default() += outcome.accepted as u64;
        self.failed.extend(outcome.failure.map(|failure| (seed, failure)));
    }

    fn merge(&mut self, other: Sum) {
        self.played += other.played;
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.failed.extend(other.failed);
    }
}

/// Plays.
pub fn run(args: &Args) -> Result<bool> {
    if let Some(seed) = args.seed {
        return Ok(one(seed));
    }
    if args.planted {
        return Ok(planted());
    }
    let began = Clock::now();
    let sum = many(args);
    let seconds = began.elapsed().as_secs_f64();
    for (kind, count) in &sum.counts {
        println!("{kind:<28} {count:>10}");
    }
    let mut failed = sum.failed;
    failed.sort();
    for (count, seed, failure) in kinds(&failed).iter().take(TOLD) {
        println!("{count} times, first seed {seed}: {failure} (cargo x sim --seed {seed})");
    }
    let mut passed = failed.is_empty();
    let rare = table::rare(&sum.counts);
    if sum.played >= table::MANY_SEEDS {
        rare.iter().for_each(|(row, count)| println!("too rare: {row}: {count}"));
        passed &= rare.is_empty();
    }
    println!("{:.1} seeds/s over {seconds:.0} s", sum.played as f64 / seconds);
    println!("sim: {}/{}", sum.played - failed.len() as u64, sum.played);
    Ok(passed && sum.played > 0)
}

/// Failures that differ by more than names and numbers: how often, and the first of each.
fn kinds(failed: &[(u64, String)]) -> Vec<(usize, u64, &str)> {
    let plain =
        |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic() || c.is_ascii_punctuation() && c != '-');
    let mut kinds: BTreeMap<Vec<&str>, (usize, u64, &str)> = BTreeMap::new();
    for (seed, failure) in failed {
        let words = failure.split(' ').filter(plain).collect();
        kinds.entry(words).or_insert((0, *seed, failure)).0 += 1;
    }
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_by(|a, b| b.cmp(a));
    kinds
}

fn one(seed: u64) -> bool {
    let outcome = play(seed, Plant::Nothing, true);
    outcome.story.iter().for_each(|line| println!("{line}"));
    println!("trace {:016x}", outcome.hash);
    if let Some(failure) = &outcome.failure {
        println!("seed {seed}: {failure}");
    }
    println!("sim: {}/1", u8::from(outcome.failure.is_none()));
    outcome.failure.is_none()
}

/// Plays many seeds, each of them on one thread.
fn many(args: &Args) -> Sum {
    let (next, began) = (AtomicU64::new(args.from), Clock::now());
    let last = if args.minutes.is_some() { u64::MAX } else { args.from.saturating_add(args.seeds) };
    let time = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let work = || {
        let mut sum = Sum::default();
        while time.is_none_or(|time| began.elapsed() < time) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                break;
            }
            sum.add(seed, play(seed, Plant::Nothing, false));
        }
        sum
    };
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            sum.merge(worker.join().unwrap_or_default());
        }
    });
    sum
}

/// The first of the seeds from `from` on at which the checkers find what is planted.
pub fn found(plant: Plant, from: u64, seeds: u64) -> Option<(u64, String)> {
    let clean = |seed| play(seed, Plant::Nothing, false).failure.is_none();
    (from..from + seeds)
        .find_map(|seed| Some((seed, play(seed, plant, false).failure?)).filter(|_| clean(seed)))
}

/// The trials of one planted mistake, on all cores.
fn trials(plant: Plant) -> Vec<Option<(u64, String)>> {
    let trial = |trial: u64| found(plant, trial * TRIAL_SEEDS + 1, TRIAL_SEEDS);
    let (next, done) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < TRIALS) {
            let finding = trial(at);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(at, finding);
        }
    };
    std::thread::scope(|scope| (0..threads()).for_each(|_| drop(scope.spawn(work))));
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The table of the planted mistakes.
fn planted() -> bool {
    let mut passed = 0;
    println!("{:<34} {:>8} {:>12} {:>10}  first finding", "planted", "trials", "seeds (mean)", "(most)");
    for (name, plant) in Plant::ALL {
        let trials = trials(plant);
        let needed: Vec<u64> =
            trials.iter().flatten().map(|(seed, _)| (seed - 1) % TRIAL_SEEDS + 1).collect();
        let (sum, most) = (needed.iter().sum::<u64>(), needed.iter().max().copied().unwrap_or(0));
        let first = trials.into_iter().flatten().next().map_or(String::new(), |(_, failure)| failure);
        println!(
            "{name:<34} {:>5}/{TRIALS} {:>12.1} {most:>10}  {first}",
            needed.len(),
            sum as f64 / needed.len().max(1) as f64
        );
        passed += usize::from(needed.len() as u64 == TRIALS);
    }
    println!("sim: {passed}/{}", Plant::ALL.len());
    passed == Plant::ALL.len()
}
