//! `cargo x conformance`: every back end, plain and misbehaving, against everything that the contract promises.

use std::path::Path;

use anyhow::Result;
use base::host::Host;
use store::backend::Store;
use store::conformance::{Subject, cases};
use store::fault::{Faults, Faulty};

use super::spanner;

/// Revisions of the model are equal as often as they may be.
const GRAIN: std::time::Duration = std::time::Duration::from_millis(2);

/// Puts every back end through every case.
pub fn run() -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut passed, mut total) = (0, 0);
    for back_end in ["memory", "embedded", "spanner"] {
        for (mode, faults) in [("plain", None), ("faulty", Some(Faults::MANY))] {
            let (good, all) = runtime.block_on(put_through(back_end, mode, faults))?;
            println!("{back_end:<10} {mode:<8} {good}/{all}");
            (passed, total) = (passed + good, total + all);
        }
    }
    println!("conformance: {passed}/{total}");
    Ok(passed == total)
}

async fn put_through(back_end: &str, mode: &str, faults: Option<Faults>) -> Result<(usize, usize)> {
    let (host, jobs) = base::real::host();
    let folder = tempfile::tempdir()?;
    let (inner, _keeps) = open(back_end, mode, folder.path(), &host).await?;
    let faulty = faults.map(|faults| Faulty::new(inner.clone(), host.clone(), faults));
    let store: Store = match &faulty {
        Some(faulty) => faulty.clone(),
        None => inner,
    };
    let subject = Subject { store, host, bells_are_sure: faults.is_none() };
    let (mut good, mut all) = (0, 0);
    for case in cases() {
        all += 1;
        match case.run(&subject).await {
            Ok(()) => good += 1,
            Err(why) => println!("{back_end}: {}: {why}", case.name),
        }
    }
    if let Some(faulty) = faulty {
        let counts: Vec<_> = faulty.counts().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        println!("{back_end:<10} what went wrong: {}", counts.join(", "));
    }
    jobs.shutdown(std::time::Duration::from_secs(5)).await;
    Ok((good, all))
}

/// A fresh store, and what must live as long.
async fn open(
    back_end: &str,
    mode: &str,
    folder: &Path,
    host: &Host,
) -> Result<(Store, Option<spanner::Database>)> {
    if back_end == "spanner" {
        let database = spanner::Database::fresh(host).await?;
        return Ok((database.store.clone(), Some(database)));
    }
    let store: Store = match (back_end, mode) {
        ("memory", "faulty") => store::memory::Memory::loose(host.clock.clone(), GRAIN),
        ("memory", _) => store::memory::Memory::new(host.clock.clone()),
        _ => store::embedded::open(folder, host)?,
    };
    Ok((store, None))
}
