//! The agent as a program of its own, as machine images start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::supervisor_main().unwrap_or_else(agent::process::main)
}
