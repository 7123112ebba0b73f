//! Who turns an OCI bundle into a process: libcontainer in this process, or an external runtime (runc, crun).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::Value;

use super::executor::Program;

/// The runtime of this pod.
pub enum LowLevel {
    /// libcontainer.
    Embedded {
        /// Folder of its state.
        state: PathBuf,
    },
    /// An external program.
    External {
        /// The program.
        program: PathBuf,
        /// Folder of its state.
        state: PathBuf,
    },
}

/// A container that was created.
pub struct Created {
    /// Process id of its first process.
    pub pid: i32,
    /// Ends when its program runs; a text before that says why it does not. None: the start itself tells.
    pub errors: Option<OwnedFd>,
    handle: Handle,
}

enum Handle {
    Embedded(Box<Container>),
    External(String),
}

impl LowLevel {
    /// Creates the container of `bundle` with these outputs, and gives the id of its first process.
    ///
    /// # Errors
    /// A text for the user. The one read from `errors`, where the runtime's processes write, says more.
    pub fn create(
        &self,
        id: &str,
        bundle: &Path,
        out: OwnedFd,
        err: OwnedFd,
        errors: &OwnedFd,
    ) -> Result<i32, String> {
        match self {
            Self::Embedded { state } => {
                embedded(state, id, bundle, out, err).map_err(|error| first_line(errors).unwrap_or(error))
            }
            Self::External { program, state } => external(program, state, id, bundle, out, err),
        }
    }

    /// A container that another process has created.
    ///
    /// # Errors
    /// A text for the user.
    pub fn created(&self, id: &str, pid: i32, errors: OwnedFd) -> Result<Created, String> {
        match self {
            Self::Embedded { state } => {
                let container = Container::load(state.join(id)).map_err(|e| e.to_string())?;
                Ok(Created { pid, errors: Some(errors), handle: Handle::Embedded(Box::new(container)) })
            }
            Self::External { .. } => {
                Ok(Created { pid, errors: None, handle: Handle::External(id.to_owned()) })
            }
        }
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// A text for the user.
    pub fn start(&self, created: &mut Created) -> Result<(), String> {
        match (self, &mut created.handle) {
            (_, Handle::Embedded(container)) => container.start().map_err(|e| e.to_string()),
            (Self::External { program, state }, Handle::External(id)) => {
                let log = state.join(format!("{id}.log"));
                let mut command = command(program, state, &log);
                command.arg("start").arg(id);
                run(command, &log)
            }
            (Self::Embedded { .. }, Handle::External(_)) => Err("a container of another runtime".into()),
        }
    }

    /// Runs `command` inside a running container, and gives its process id.
    ///
    /// # Errors
    /// A text for the log.
    pub fn exec(&self, id: &str, words: &[String], pid_file: &Path) -> Result<i32, String> {
        match self {
            Self::Embedded { state } => {
                let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default());
                let builder = builder.with_root_path(state).map_err(|e| e.to_string())?;
                let tenant = builder.with_executor(Program).as_tenant().with_container_args(words.to_vec());
                let pid = tenant.with_detach(true).as_sibling(false).build().map_err(|e| e.to_string())?;
                Ok(pid.as_raw())
            }
            Self::External { program, state } => {
                let log = state.join(format!("{id}.exec.log"));
                let mut command = command(program, state, &log);
                command.args(["exec", "--detach", "--pid-file"]).arg(pid_file).arg(id).args(words);
                run(command, &log)?;
                read_pid(pid_file)
            }
        }
    }
}

fn embedded(state: &Path, id: &str, bundle: &Path, out: OwnedFd, err: OwnedFd) -> Result<i32, String> {
    let build = || {
        let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default()).with_root_path(state)?;
        let builder = builder.with_executor(Program).with_stdout(out).with_stderr(err).validate_id()?;
        // The container's own first process must not be made a child of a process that it does not know.
        builder.as_init(bundle).with_systemd(false).with_detach(true).as_sibling(false).build()
    };
    let container = build().map_err(|error: LibcontainerError| error.to_string())?;
    container.pid().map(|pid| pid.as_raw()).ok_or_else(|| "the container has no process".into())
}

/// The first error that was written: the later ones are its consequences.
pub fn first_line(pipe: &OwnedFd) -> Option<String> {
    let mut bytes = [0; 4096];
    let length = nix::unistd::read(pipe, &mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    text.lines().next().map(str::to_owned)
}

fn command(program: &Path, state: &Path, log: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(state)
        .arg("--log")
        .arg(log)
        .args(["--log-format", "json"])
        .stdin(Stdio::null());
    command
}

fn external(
    program: &Path,
    state: &Path,
    id: &str,
    bundle: &Path,
    out: OwnedFd,
    err: OwnedFd,
) -> Result<i32, String> {
    let log = state.join(format!("{id}.log"));
    let pid_file = state.join(format!("{id}.pid"));
    let mut command = command(program, state, &log);
    command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file).arg(id);
    command.stdout(out).stderr(err);
    run(command, &log)?;
    read_pid(&pid_file)
}

fn run(mut command: Command, log: &Path) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(last_error(log).unwrap_or_else(|| format!("the runtime ended with {status}"))),
        Err(error) => Err(format!("the runtime cannot be executed: {error}")),
    }
}

fn last_error(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let error = lines.rev().find(|l| l["level"] == "error")?;
    error["msg"].as_str().map(str::to_owned)
}

fn read_pid(file: &Path) -> Result<i32, String> {
    let read = || -> io::Result<i32> { fs::read_to_string(file)?.trim().parse().map_err(io::Error::other) };
    read().map_err(|e| format!("the runtime's pid file: {e}"))
}
