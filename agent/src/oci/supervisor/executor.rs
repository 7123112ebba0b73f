//! The last step of a container's first process: clean signals, then the program.

use std::ffi::CString;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;

use super::errors;

/// Number of signals, real-time ones included.
const SIGNALS: i32 = 64;

/// Executes the program of a container, and says through the error pipe why it could not.
#[derive(Clone)]
pub struct Program;

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let words = process.args().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args: Result<Vec<CString>, _> = words.iter().map(|w| CString::new(w.as_bytes())).collect();
        let (Ok(args), Some(program)) = (args, words.first()) else { return Err(ExecutorError::InvalidArg) };
        reset_signals();
        let env = process.env().as_deref().unwrap_or_default();
        let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
        let text = execute(program, &args, path);
        errors::write(&text);
        Err(ExecutorError::Other(text))
    }

    /// Whether the program is there is seen when it is executed: a check before that can only be wrong.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }
}

/// Comes back only when the program cannot be executed, with a text that says why.
fn execute(program: &str, args: &[CString], path: &str) -> String {
    let candidates: Vec<String> = if program.contains('/') {
        vec![program.to_owned()]
    } else {
        path.split(':')
            .map(|dir| if dir.is_empty() { program.to_owned() } else { format!("{dir}/{program}") })
            .collect()
    };
    let mut denied = false;
    for candidate in candidates {
        let Ok(file) = CString::new(candidate.as_bytes()) else { continue };
        let Err(error) = nix::unistd::execv(&file, args);
        match error {
            Errno::ENOENT | Errno::ENOTDIR if std::path::Path::new(&candidate).exists() => {
                return format!("exec {candidate:?}: its interpreter does not exist");
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => denied = true,
            other => return format!("exec {candidate:?}: {}", other.desc().to_lowercase()),
        }
    }
    match (denied, program.contains('/')) {
        (true, _) => format!("exec: {program:?}: permission denied"),
        (false, true) => format!("exec: {program:?}: no such file or directory"),
        (false, false) => format!("exec: {program:?}: executable file not found in $PATH"),
    }
}

/// Rust ignores SIGPIPE, and others may be ignored by whoever started us; a program expects the defaults.
fn reset_signals() {
    /// The kernel's own structure: the C library hides signals 32 and 33.
    #[repr(C)]
    struct KernelAction {
        handler: usize,
        flags: u64,
        restorer: usize,
        mask: u64,
    }
    let default = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    let none: u64 = 0;
    for signal in 1..=SIGNALS {
        // SAFETY: the structure has the kernel's layout and lives through the call; setting a default
        // disposition touches no memory of ours. KILL and STOP are refused, which does not matter.
        #[allow(unsafe_code)]
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &default, std::ptr::null::<KernelAction>(), 8);
        }
    }
    // SAFETY: the mask is a valid 64-bit set for the length of the call.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &none, std::ptr::null::<u64>(), 8);
    }
}
