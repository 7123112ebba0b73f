//! Processes that create containers, a few at a time.
//!
//! The low-level runtime must be called from a process with one thread, and it waits for the container's own first
//! process most of the time. So each creation has a process: a fork of the supervisor that ends when the container
//! waits to be started. The container's first process is then the supervisor's child, as every orphan of the pod is.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, fork};
use serde::{Deserialize, Serialize};

use super::super::errors;
use super::super::low_level::{Created, LowLevel};
use super::create::{self, Failure};
use crate::oci::wire::{Create, Fault};

/// What a pipe takes in one piece.
const OUTCOME_MAX: usize = 4096;
/// Of the text in it, which may double when it is quoted.
const TEXT_MAX: usize = 2000;

/// Creations that go on, and those that wait for their turn.
#[derive(Default)]
pub struct Creators {
    running: BTreeMap<String, Creator>,
    waiting: VecDeque<(Create, Vec<OwnedFd>)>,
    /// Signals that came for containers that are not there yet; the container gets them first of all.
    signals: BTreeMap<String, i32>,
}

/// A creation that goes on.
struct Creator {
    create: Create,
    pid: i32,
    /// From here what became of the container can be read, at once and in one piece. There may be no end: the
    /// container's first process has inherited the other side.
    outcome: OwnedFd,
    /// See [`Created::errors`].
    errors: OwnedFd,
}

/// What became of a creation.
pub struct Done {
    /// What was asked.
    pub create: Create,
    /// The container, or why there is none.
    pub result: Result<Created, Failure>,
    /// A signal that was sent to it meanwhile.
    pub signal: Option<i32>,
}

/// What a creator says at its end.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Created { pid: i32 },
    Failed { text: String, fault: Fault },
}

impl Creators {
    /// Nothing is being created, and nothing waits for it.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Creates a container as soon as there is room. `descriptors` are its OCI spec, stdout and stderr.
    pub fn add(&mut self, create: Create, descriptors: Vec<OwnedFd>) {
        self.waiting.push_back((create, descriptors));
    }

    /// Notes a signal for a container that is not there yet. False: none of that name is on its way.
    pub fn signal(&mut self, id: &str, signal: i32) -> bool {
        let coming = self.running.contains_key(id) || self.waiting.iter().any(|(c, _)| c.id == id);
        if coming {
            self.signals.insert(id.to_owned(), signal);
        }
        coming
    }

    /// The creation that process `pid` was busy with.
    pub fn of(&self, pid: i32) -> Option<String> {
        self.running.iter().find(|(_, creator)| creator.pid == pid).map(|(id, _)| id.clone())
    }

    /// The descriptors that say that a creation is done.
    pub fn outcomes(&self) -> impl Iterator<Item = (&String, &OwnedFd)> {
        self.running.iter().map(|(id, creator)| (id, &creator.outcome))
    }

    /// Begins creations while there is room. What cannot even begin is given back.
    pub fn fill(&mut self, low_level: &LowLevel, run: &Path) -> Vec<Done> {
        let room = std::thread::available_parallelism().map_or(2, |n| n.get());
        let mut failed = Vec::new();
        while self.running.len() < room
            && let Some((create, descriptors)) = self.waiting.pop_front()
        {
            let id = create.id.clone();
            match begin(low_level, run, &create, descriptors) {
                Ok((pid, outcome, errors)) => {
                    self.running.insert(id, Creator { create, pid, outcome, errors });
                }
                Err(error) => failed.push(self.done(create, Err(failure(&error.to_string())))),
            }
        }
        failed
    }

    /// Takes in a creation that is done.
    pub fn finish(&mut self, low_level: &LowLevel, id: &str) -> Option<Done> {
        let Creator { create, outcome, errors, .. } = self.running.remove(id)?;
        let mut bytes = [0; OUTCOME_MAX];
        let said = File::from(outcome).read(&mut bytes).map_err(|e| e.to_string());
        let said = said.and_then(|n| serde_json::from_slice(&bytes[..n]).map_err(|e| e.to_string()));
        let result = match said {
            Ok(Outcome::Created { pid }) => low_level.created(id, pid, errors).map_err(|text| failure(&text)),
            Ok(Outcome::Failed { text, fault }) => Err(Failure { text, fault }),
            Err(_) => {
                let text = "the process that creates the container was killed".to_owned();
                Err(Failure { text, fault: Fault::Machine })
            }
        };
        Some(self.done(create, result))
    }

    fn done(&mut self, create: Create, result: Result<Created, Failure>) -> Done {
        let signal = self.signals.remove(&create.id);
        Done { create, result, signal }
    }
}

fn failure(text: &str) -> Failure {
    Failure { text: text.to_owned(), fault: Fault::Program }
}

/// Forks a creator. Its outcome, and the container's errors, can be read from the descriptors.
fn begin(
    low_level: &LowLevel,
    run: &Path,
    create: &Create,
    descriptors: Vec<OwnedFd>,
) -> io::Result<(i32, OwnedFd, OwnedFd)> {
    let (outcome, say) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let (errors, write) = errors::pipe()?;
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    #[allow(unsafe_code)]
    let side = unsafe { fork() }?;
    match side {
        ForkResult::Parent { child } => Ok((child.as_raw(), outcome, errors)),
        ForkResult::Child => {
            errors::direct_to(write.as_raw_fd());
            let said = match create::container(low_level, run, create, descriptors, &errors) {
                Ok(pid) => Outcome::Created { pid },
                Err(Failure { mut text, fault }) => {
                    text.truncate(text.floor_char_boundary(TEXT_MAX));
                    Outcome::Failed { text, fault }
                }
            };
            let said = serde_json::to_vec(&said).unwrap_or_default();
            let code = i32::from(nix::unistd::write(&say, &said).is_err());
            // SAFETY: ends the process at once: nothing of the supervisor's may be cleaned up here.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(code)
            }
        }
    }
}
