use std::collections::BTreeSet;

use super::*;

/// Scenarios that are known to differ, one a line, each with its reason.
const KNOWN: &str = include_str!("known.txt");

#[test]
fn recorded_conversations() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let outcomes = runtime.block_on(async {
        let (host, _jobs) = base::real::host();
        run(&shared().join("golden/api"), &host).await.expect("the recorded conversations can be read")
    });
    let known: BTreeSet<_> =
        KNOWN.lines().filter_map(|l| l.split_whitespace().next()).filter(|l| !l.starts_with('#')).collect();
    let failed: Vec<_> = outcomes.iter().filter_map(|(n, o)| o.as_ref().err().map(|e| (n, e))).collect();
    println!("api: {}/{}", outcomes.len() - failed.len(), outcomes.len());
    for (name, why) in &failed {
        println!("  {name}: {}", why.chars().take(700).collect::<String>());
    }
    assert!(outcomes.len() > 100, "only {} scenarios were found", outcomes.len());
    let unexpected: Vec<_> = failed.iter().filter(|(n, _)| !known.contains(n.as_str())).collect();
    assert!(unexpected.is_empty(), "{} scenarios fail that did not: {unexpected:?}", unexpected.len());
    let names: BTreeSet<_> = failed.iter().map(|(n, _)| n.as_str()).collect();
    let stale: Vec<_> = known.iter().filter(|n| !names.contains(**n)).collect();
    assert!(stale.is_empty(), "these pass now and must leave the list of differences: {stale:?}");
}
