use std::collections::BTreeSet;

use super::*;

/// Every case must pass, except those that are listed; a listed one that passes must leave the list.
fn check(group: &str, outcomes: Outcomes, known: &str) {
    let known: BTreeSet<_> =
        known.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let failed: Vec<_> = outcomes.iter().filter_map(|(n, o)| o.as_ref().err().map(|e| (n, e))).collect();
    println!("{group}: {}/{}", outcomes.len() - failed.len(), outcomes.len());
    for (name, error) in &failed {
        println!("  {name}: {error}");
    }
    assert!(!outcomes.is_empty(), "{group}: no case found");
    let unexpected: Vec<_> = failed.iter().filter(|(n, _)| !known.contains(n.as_str())).collect();
    assert!(unexpected.is_empty(), "{group}: {} cases fail that did not: {unexpected:?}", unexpected.len());
    let names: BTreeSet<_> = failed.iter().map(|(n, _)| n.as_str()).collect();
    let stale: Vec<_> = known.iter().filter(|n| !names.contains(**n)).collect();
    assert!(stale.is_empty(), "{group}: these pass now and must leave the list of failures: {stale:?}");
}

fn dir(group: &str) -> PathBuf {
    shared().join("golden").join(group)
}

#[test]
fn admission() {
    let outcomes = super::admission::run(&dir("admission")).unwrap();
    check("admission", outcomes, include_str!("known/admission.txt"));
}

#[test]
fn config() {
    check("config", super::config::run(&dir("config")).unwrap(), "");
}

#[test]
fn conversion() {
    check("conversion", super::conversion::run(&dir("conversion")).unwrap(), "");
}

#[test]
fn pod() {
    check("pod", super::pod::run(&dir("pod")).unwrap(), include_str!("known/pod.txt"));
}

#[test]
fn taskrun_status() {
    let outcomes = super::taskrun_status::run(&dir("taskrun-status")).unwrap();
    check("taskrun-status", outcomes, include_str!("known/taskrun-status.txt"));
}

#[test]
fn childname() {
    check("childname", tables::childname(&dir("childname")).unwrap(), "");
}

#[test]
fn termination() {
    check(
        "termination",
        tables::termination(&dir("termination")).unwrap(),
        include_str!("known/termination.txt"),
    );
}

#[test]
fn substitution() {
    check(
        "substitution",
        tables::substitution(&dir("substitution")).unwrap(),
        include_str!("known/substitution.txt"),
    );
}

#[test]
fn pipelinerun() {
    let outcomes = super::pipelinerun::run(&dir("pipelinerun")).unwrap();
    check("pipelinerun", outcomes, include_str!("known/pipelinerun.txt"));
}
