//! `cargo x sim --seeds N [--seed S]`: the simulated world, seed by seed.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::commands::Clock;
use crate::world::play::{Outcome, Plant, play};

/// Failures that are told in full.
const TOLD: usize = 5;

/// Plays seeds 1 to `seeds`, or only `seed`, which is told step by step.
pub fn run(seeds: u64, seed: Option<u64>) -> Result<bool> {
    if let Some(seed) = seed {
        let outcome = play(seed, Plant::Nothing, true);
        outcome.story.iter().for_each(|line| println!("{line}"));
        println!("trace {:016x}", outcome.hash);
        if let Some(failure) = &outcome.failure {
            println!("seed {seed}: {failure}");
        }
        println!("sim: {}/1", u8::from(outcome.failure.is_none()));
        return Ok(outcome.failure.is_none());
    }
    let began = Clock::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let own = (1..=seeds).filter(move |seed| seed % threads == worker);
                scope.spawn(move || {
                    own.map(|seed| (seed, play(seed, Plant::Nothing, false))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut accepted, mut starts) = (0, 0);
    for (_, outcome) in &outcomes {
        accepted += outcome.accepted as u64;
        starts += outcome.starts;
        outcome.counts.iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
    }
    counts.insert("run accepted", accepted);
    counts.insert("user code started", starts);
    for (kind, count) in counts {
        println!("{kind:<20} {count:>9}");
    }
    let failed: Vec<_> = outcomes.iter().filter(|(_, o)| o.failure.is_some()).collect();
    for (seed, outcome) in failed.iter().take(TOLD) {
        println!(
            "seed {seed}: {} (cargo x sim --seed {seed})",
            outcome.failure.as_deref().unwrap_or_default()
        );
    }
    println!("{:.0} seeds/s", outcomes.len() as f64 / began.elapsed().as_secs_f64());
    println!("sim: {}/{seeds}", outcomes.len() - failed.len());
    Ok(failed.is_empty() && outcomes.len() as u64 == seeds)
}
