//! Running the step's program: in a process group of its own, with signals passed on, a time limit, and copies of
//! its outputs if asked for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wait::Watch;

const CANCEL_FILE: &str = "/tekton/downward/cancel";

/// How the program ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Exited(u8),
    /// A signal killed it.
    Signalled,
    /// It was killed because its time was up.
    TimedOut,
    /// It was killed because the run was cancelled.
    Cancelled,
    /// It could not be started.
    NotStarted(String),
}

impl End {
    /// What the step returns when nothing else is decided.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Signalled => 255,
            Self::TimedOut | Self::NotStarted(_) => 1,
            Self::Cancelled => 9,
        }
    }
}

/// What to run.
pub struct Program<'a> {
    /// Program and arguments.
    pub words: &'a [String],
    /// Variables to set over those that are there.
    pub env: &'a [(String, String)],
    /// See [`crate::flags::Flags`].
    pub timeout: Option<Duration>,
    /// File that gets a copy of standard output.
    pub stdout: Option<&'a str>,
    /// File that gets a copy of standard error.
    pub stderr: Option<&'a str>,
}

/// Runs the program to its end.
pub fn run(program: &Program) -> End {
    let Some((name, arguments)) = program.words.split_first() else {
        return End::NotStarted("the step names no program, and its image has none for this platform".into());
    };
    let signals = block_signals();
    let mut command = Command::new(name);
    command.args(arguments).envs(program.env.iter().cloned()).process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are made: sigprocmask and signal.
    unsafe {
        command.pre_exec(|| {
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            Ok(())
        });
    }
    if program.stdout.is_some() {
        command.stdout(Stdio::piped());
    }
    if program.stderr.is_some() {
        command.stderr(Stdio::piped());
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return End::NotStarted(format!("cannot run {name:?}: {error}")),
    };
    let mut copies = Vec::new();
    if let (Some(path), Some(stream)) = (program.stdout, child.stdout.take()) {
        copies.push(copy(stream, path, std::io::stdout()));
    }
    if let (Some(path), Some(stream)) = (program.stderr, child.stderr.take()) {
        copies.push(copy(stream, path, std::io::stderr()));
    }
    let end = attend(child.id() as libc::pid_t, program.timeout, &signals);
    for copy in copies {
        let _ = copy.join();
    }
    end
}

/// Exit code when a signal ends the step before its program runs: that of the reference.
const ENDED_BY_SIGNAL: i32 = 2;

/// While there is no program, a signal that asks to end does end this process. As the init of its container it
/// would ignore such a signal otherwise, and only KILL would end a step that waits for its turn.
pub fn end_on_signals() {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: `_exit` may be called in a signal handler.
        unsafe { libc::_exit(ENDED_BY_SIGNAL) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler touches nothing, and lives as long as the program.
        unsafe { libc::signal(signal, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Blocks all signals, so that they can be waited for.
fn block_signals() -> libc::sigset_t {
    // SAFETY: the set is filled before it is used; blocking signals in the only thread has no preconditions.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        all
    }
}

/// Lets signals end this process again, once there is no program to pass them on to.
pub fn allow_signals() {
    // SAFETY: an empty set is a valid one; changing the mask of the only thread has no preconditions.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Waits for the child; passes signals on; kills it when it is time.
fn attend(child: libc::pid_t, timeout: Option<Duration>, signals: &libc::sigset_t) -> End {
    #[allow(clippy::disallowed_methods, reason = "this program has no seams: it runs alone in a container")]
    let now = Instant::now;
    // SAFETY: a valid signal set; a negative answer is an error, and poll ignores negative descriptors.
    let fd = unsafe { libc::signalfd(-1, signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let watch = Watch::on([CANCEL_FILE]);
    let deadline = timeout.map(|t| now() + t);
    let (mut timed_out, mut cancelled) = (false, false);
    loop {
        if let Some(end) = reap(child) {
            return match (timed_out, cancelled) {
                (true, _) => End::TimedOut,
                (_, true) => End::Cancelled,
                _ => end,
            };
        }
        let due = |t: Instant| t <= now();
        if !timed_out && deadline.is_some_and(due) {
            timed_out = true;
            kill(child, libc::SIGKILL);
        }
        if !cancelled && fs::metadata(CANCEL_FILE).is_ok_and(|m| m.len() > 0) {
            cancelled = true;
            kill(child, libc::SIGKILL);
        }
        let left = deadline
            .filter(|_| !timed_out)
            .map_or(crate::wait::LOOK_EVERY, |d| d.saturating_duration_since(now()));
        let millis = left.min(crate::wait::LOOK_EVERY).as_millis() as i32 + 1;
        let mut polls = [
            libc::pollfd { fd, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: watch.fd(), events: libc::POLLIN, revents: 0 },
        ];
        // SAFETY: two valid pollfds.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, millis) };
        watch.drain();
        pass_on(fd, child);
    }
}

/// Sends the signals that have come to the child's process group.
fn pass_on(fd: i32, child: libc::pid_t) {
    // SAFETY: an all-zero signalfd_siginfo is a valid value, and the size is its own.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as long as we say.
    while unsafe { libc::read(fd, (&raw mut info).cast(), size) } == size as isize {
        let signal = info.ssi_signo as i32;
        if !matches!(signal, libc::SIGCHLD | libc::SIGURG) {
            kill(-child, signal);
        }
    }
}

fn kill(pid: libc::pid_t, signal: i32) {
    // SAFETY: no preconditions; the child is not yet reaped, so its id is its own.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps whatever has ended (we may be the container's init); the end of `child`, if it is among them.
fn reap(child: libc::pid_t) -> Option<End> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return found;
        }
        if pid == child {
            let status = std::process::ExitStatus::from_raw(status);
            found = Some(status.code().map_or(End::Signalled, |code| End::Exited(code as u8)));
        }
    }
}

/// Copies `from` to the file at `path` and to `to`.
fn copy(
    mut from: impl Read + Send + 'static,
    path: &str,
    mut to: impl Write + Send + 'static,
) -> JoinHandle<()> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        if let Some(folder) = Path::new(&path).parent() {
            let _ = fs::create_dir_all(folder);
        }
        let mut file = File::options().create(true).append(true).open(&path).ok();
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if let Some(file) = &mut file {
                let _ = file.write_all(&buffer[..count]);
            }
            let _ = to.write_all(&buffer[..count]).and_then(|()| to.flush());
        }
    })
}
