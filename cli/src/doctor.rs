//! `cella doctor`: what this host offers, and what to do about what is missing.

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use base::host::Clock;
use base::real::RealClock;

/// Prints a line for each check; fails when something that a run needs is missing.
pub fn run() -> ExitCode {
    let mut good = true;
    let mut line = |name: &str, fine: bool, needed: bool, what: &str, remedy: &str| {
        let mark = match (fine, needed) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "absent ",
        };
        println!("{mark} {name}: {what}");
        if !fine {
            println!("        {remedy}");
            good &= !needed;
        }
    };
    for check in agent::doctor::doctor(&std::env::temp_dir()) {
        line(check.name, check.good, check.needed, &check.found, &check.remedy);
    }
    let sync = disk_sync_ms(20);
    let text =
        sync.map_or("cannot be measured".to_owned(), |ms| format!("p50 {ms:.2} ms for a synchronous write"));
    line(
        "disk",
        sync.is_some_and(|ms| ms < 20.0),
        false,
        &text,
        "a slow disk slows every change; put the data folder on a local one",
    );
    let free = std::net::TcpListener::bind(("127.0.0.1", 6443)).is_ok();
    line(
        "port 6443",
        free,
        false,
        if free { "free" } else { "in use" },
        "choose another one: cella up --port 7443",
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Median time of a write that is on disk, in ms, in the folder of temporary files.
pub fn disk_sync_ms(rounds: usize) -> Option<f64> {
    let path = std::env::temp_dir().join(format!("cella-sync.{}", std::process::id()));
    let mut file = fs::File::create(&path).ok()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let before = RealClock.mono();
        let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_data());
        written.ok()?;
        times.push(RealClock.mono().since(before).as_secs_f64() * 1000.0);
    }
    let _ = fs::remove_file(&path);
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}
