//! `cargo x conformance`: every back end, plain and misbehaving, against everything that the contract promises.

use anyhow::Result;
use base::host::Host;
use store::backend::Store;
use store::conformance::{Subject, cases};
use store::fault::{Faults, Faulty};

/// Puts every back end through every case.
pub fn run() -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut passed, mut total) = (0, 0);
    for back_end in ["memory", "embedded"] {
        for (mode, faults) in [("plain", None), ("faulty", Some(Faults::MANY))] {
            let (good, all) = runtime.block_on(put_through(back_end, faults))?;
            println!("{back_end:<10} {mode:<8} {good}/{all}");
            (passed, total) = (passed + good, total + all);
        }
    }
    println!("conformance: {passed}/{total}");
    Ok(passed == total)
}

async fn put_through(back_end: &str, faults: Option<Faults>) -> Result<(usize, usize)> {
    let (host, jobs) = base::real::host();
    let folder = tempfile::tempdir()?;
    let inner = open(back_end, folder.path(), &host)?;
    let store: Store = match faults {
        Some(faults) => Faulty::new(inner, host.clone(), faults),
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
    jobs.shutdown(std::time::Duration::from_secs(5)).await;
    Ok((good, all))
}

fn open(back_end: &str, folder: &std::path::Path, host: &Host) -> Result<Store> {
    Ok(match back_end {
        "memory" => store::memory::Memory::new(host.clock.clone()),
        _ => store::embedded::open(folder, host)?,
    })
}
