//! How it all ended: every accepted run once, and for a reason that what was done to it allows; nothing that nobody
//! asked for; nothing left behind.

use std::collections::BTreeMap;

use store::cell::machines::{MACHINE_LOST, MACHINES_EXHAUSTED};

use super::ledger::{Ending, Facts, RunSeen};
use super::users::Wish;
use super::weather::{JUMP_MAX_US, SKEW_US};

/// Times in a status are whole seconds, and two clocks that are wrong may meet: a timeout may come so early, µs.
const EARLY_US: u64 = 2 * SKEW_US + 1_500_000;
/// So many attempts of a Try may be lost before the start gate.
const BOOTS_MAX: usize = store::cell::machines::BOOTS_MAX as usize;

/// What is known in the end.
pub struct Case<'a> {
    /// What was committed.
    pub facts: &'a Facts,
    /// What users wanted and were told.
    pub wishes: &'a [Wish],
    /// Regions of cells.
    pub regions: &'a BTreeMap<String, String>,
    /// A clock has jumped.
    pub jumped: bool,
    /// Whether anything has befallen a machine.
    pub harmed: &'a dyn Fn(&str) -> bool,
}

impl Case<'_> {
    /// Accepted runs that have not come to their end.
    pub fn open(&self) -> Vec<String> {
        let accepted = self.wishes.iter().filter(|wish| wish.accepted);
        let open = accepted.filter(|wish| {
            let over = |run: &RunSeen| run.gone || run.ended_us.is_some();
            self.runs(wish).next().is_none() || !self.runs(wish).all(over)
        });
        open.map(|wish| wish.name.clone().unwrap_or_else(|| wish.submit.clone())).collect()
    }

    /// The runs that a submit has made.
    fn runs<'a>(&'a self, wish: &'a Wish) -> impl Iterator<Item = &'a RunSeen> {
        let of_wish = |run: &&RunSeen| run.owner.is_none() && run.submit.as_deref() == Some(&wish.submit);
        self.facts.runs.values().filter(of_wish)
    }

    /// What is wrong.
    pub fn wrong(&self) -> Option<String> {
        let of_wishes = self.wishes.iter().find_map(|wish| self.wish(wish));
        let of_runs = || self.facts.runs.values().find_map(|run| self.run(run));
        let of_places = || self.facts.attempts.values().find_map(|seen| self.place(&seen.row));
        of_wishes.or_else(of_runs).or_else(of_places)
    }

    fn wish(&self, wish: &Wish) -> Option<String> {
        let count = self.runs(wish).count();
        let most = if wish.unplaceable { 0 } else { usize::try_from(wish.sent).unwrap_or(usize::MAX) };
        // Once it is deleted its name is free, and a request that was sent before and has been on its way since makes it
        // again: as with the reference, whose users give such runs names that the server makes.
        let most = if wish.generated || wish.deleted { most } else { most.min(1) };
        if count > most {
            return Some(format!(
                "{} was sent {} times, and there are {count} of it",
                wish.submit, wish.sent
            ));
        }
        (wish.accepted && count == 0).then(|| format!("{} was accepted, and was never there", wish.submit))
    }

    /// A cell that may not run it has never run it.
    fn place(&self, attempt: &store::records::attempt::Attempt) -> Option<String> {
        let run = self.facts.runs.get(&attempt.run_uid)?;
        let wish = self.wish_of(run)?;
        let region = self.regions.get(&attempt.cell)?;
        let may = wish.regions.is_empty() || wish.regions.contains(region);
        (!may).then(|| format!("{} ran in {region}, and may only in {}", run.name, wish.regions.join(", ")))
    }

    fn wish_of(&self, run: &RunSeen) -> Option<&Wish> {
        let root = self.facts.root(run);
        self.wishes.iter().find(|wish| root.submit.as_deref() == Some(&wish.submit))
    }

    fn run(&self, run: &RunSeen) -> Option<String> {
        let Some(wish) = self.wish_of(run) else {
            return Some(format!("nobody asked for {}", run.name));
        };
        if run.gone && !wish.deleted {
            return Some(format!("{} is gone, and nobody asked for that", run.name));
        }
        run.ended_us?;
        let (status, reason, message) = &run.condition;
        let right = match run.kind.as_str() {
            "taskruns.tekton.dev" => self.taskrun(run, wish),
            _ => self.pipelinerun(run, wish),
        };
        (!right).then(|| {
            format!("{} ended {status} {reason}, which nothing that happened explains: {message}", run.name)
        })
    }

    fn taskrun(&self, run: &RunSeen, wish: &Wish) -> bool {
        let attempts = self.facts.attempts_of(&run.uid);
        let last = attempts.last();
        let child = run.owner.is_some();
        let retries = if child { 0 } else { wish.retries };
        let tried_enough = run.retried == retries;
        match run.condition.1.as_str() {
            "Succeeded" => last.is_some_and(|seen| seen.ending == Some(Ending::Exit(0)) && seen.started),
            "TaskRunCancelled" => wish.cancelled || wish.deleted || (child && wish.timeout_us.is_some()),
            "TaskRunTimeout" => {
                let late = |timeout: u64| child || self.lived_us(run) + self.early_us() >= timeout;
                wish.timeout_us.is_some_and(late) && (tried_enough || child)
            }
            "TaskRunImagePullFailed" => {
                tried_enough && last.is_some_and(|seen| seen.ending == Some(Ending::Unpullable))
            }
            MACHINE_LOST => last.is_some_and(|seen| {
                let moved = run.epoch > seen.row.epoch;
                seen.started && (moved || (self.harmed)(&seen.row.machine))
            }),
            MACHINES_EXHAUSTED => {
                let of_try = |retry| attempts.iter().filter(move |other| other.row.retry == retry);
                last.is_some_and(|seen| of_try(seen.row.retry).count() >= BOOTS_MAX)
            }
            // Its agent keeps its deadline when its cell cannot, whatever the pod waited for.
            "StepFailed"
                if last.is_some_and(|seen| {
                    matches!(seen.ending, None | Some(Ending::Stopped | Ending::Unpullable))
                }) =>
            {
                wish.timeout_us.is_some() && tried_enough
            }
            // Its own step has failed.
            "StepFailed" | "Failed" => {
                tried_enough
                    && last.is_some_and(|seen| {
                        seen.started && matches!(seen.ending, Some(Ending::Exit(code)) if code != 0)
                    })
            }
            _ => false,
        }
    }

    fn early_us(&self) -> u64 {
        EARLY_US + if self.jumped { 2 * JUMP_MAX_US } else { 0 }
    }

    /// How long its present try has lived, µs.
    fn lived_us(&self, run: &RunSeen) -> u64 {
        run.ended_us.unwrap_or(0).saturating_sub(run.tried_us)
    }

    fn pipelinerun(&self, run: &RunSeen, wish: &Wish) -> bool {
        let of_run = |child: &&RunSeen| child.owner.as_deref() == Some(&run.uid);
        let children: Vec<_> = self.facts.runs.values().filter(of_run).collect();
        let all = |status: &str| children.iter().all(|child| child.condition.0 == status || child.gone);
        match run.condition.1.as_str() {
            "Succeeded" | "Completed" => !children.is_empty() && all("True"),
            "Failed" => children.iter().any(|child| child.condition.0 == "False"),
            "Cancelled" => wish.cancelled,
            "PipelineRunTimeout" => {
                wish.timeout_us.is_some_and(|timeout| self.lived_us(run) + self.early_us() >= timeout)
            }
            _ => false,
        }
    }
}
