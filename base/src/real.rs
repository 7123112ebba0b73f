//! The real side of the seams: clocks of the kernel, tokio jobs, the kernel's entropy, sockets.
//!
//! The only module that may ask the operating system for time or start a tokio task.

mod net;
mod tokio_side;

pub use net::{HyperNet, OnClock, OnJobs};
pub use tokio_side::{RealClock, RealEntropy, RealJobs};

use std::sync::Arc;

use crate::host::Host;

/// A [`Host`] on this operating system. Must be used inside a tokio runtime.
pub fn host() -> (Host, Arc<RealJobs>) {
    let (host, jobs, _) = host_with_net();
    (host, jobs)
}

/// As [`host`], with the net by itself, to be told whom to believe.
pub fn host_with_net() -> (Host, Arc<RealJobs>, Arc<HyperNet>) {
    let clock = Arc::new(RealClock);
    let jobs = Arc::new(RealJobs::default());
    let net = Arc::new(HyperNet::new(clock.clone(), jobs.clone()));
    (Host { clock, jobs: jobs.clone(), entropy: Arc::new(RealEntropy), net: net.clone() }, jobs, net)
}

#[cfg(test)]
mod tests;
