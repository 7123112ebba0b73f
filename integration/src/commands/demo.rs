//! `cargo demo [FILE…]`: builds everything and runs `cella demo`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::commands::{self, Clock};

/// Registry that is tried, to see whether any can be reached.
const PROBE: &str = "registry-1.docker.io:443";
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Runs the demo; true when it succeeded.
pub fn run(files: &[PathBuf]) -> Result<bool> {
    let began = Clock::now();
    crate::tools::debian(&mut |line| eprintln!("{line}"))?;
    let cella = commands::cella()?;
    eprintln!("built in {:.1} s", began.elapsed().as_secs_f64());
    let mut command = Command::new(cella);
    command.arg("demo").args(files);
    if !registry_reachable() {
        eprintln!(
            "no registry can be reached: ubuntu, alpine, bash, busybox and friends are stand-ins built from Debian's packages"
        );
        command.arg("--images").arg(commands::images::layout(&mut |line| eprintln!("{line}"))?);
    }
    let status = command.status().context("cannot run the demo")?;
    Ok(status.success())
}

fn registry_reachable() -> bool {
    use std::net::ToSocketAddrs;
    // Looking the name up may hang where there is no network; a thread of its own may.
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let address = PROBE.to_socket_addrs().ok().and_then(|mut found| found.next());
        let reached = address.is_some_and(|a| std::net::TcpStream::connect_timeout(&a, PROBE_MAX).is_ok());
        let _ = send.send(reached);
    });
    receive.recv_timeout(PROBE_MAX * 2).unwrap_or(false)
}
