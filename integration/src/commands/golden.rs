//! `cargo x golden [GROUP]`: replays answers recorded from the reference, and counts.

use std::path::Path;

use anyhow::{Result, anyhow};
use tekton::golden::{self, Outcomes};

type Replay = fn(&Path) -> std::result::Result<Outcomes, String>;

const GROUPS: [(&str, Replay); 9] = [
    ("admission", golden::admission::run),
    ("config", golden::config::run),
    ("conversion", golden::conversion::run),
    ("pod", golden::pod::run),
    ("taskrun-status", golden::taskrun_status::run),
    ("pipelinerun", golden::pipelinerun::run),
    ("substitution", golden::tables::substitution),
    ("termination", golden::tables::termination),
    ("childname", golden::tables::childname),
];

/// Replays the groups below `dir`, or only one.
pub fn run(dir: &Path, only: Option<&str>) -> Result<bool> {
    let (mut passed, mut total) = (0, 0);
    for (name, replay) in GROUPS {
        if only.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let outcomes = replay(&dir.join(name)).map_err(|e| anyhow!(e))?;
        let good = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        if only.is_some() {
            for (case, outcome) in &outcomes {
                if let Err(why) = outcome {
                    println!("{case}: {}", why.chars().take(300).collect::<String>());
                }
            }
        }
        println!("{name:<16} {good}/{}", outcomes.len());
        passed += good;
        total += outcomes.len();
    }
    anyhow::ensure!(total > 0, "there is no group {:?}", only.unwrap_or(""));
    println!("golden: {passed}/{total}");
    Ok(passed == total)
}
