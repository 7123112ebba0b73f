//! The `cella` executable.

use std::process::ExitCode;

use clap::Parser;
use cli::arguments::Arguments;
use mimalloc::MiMalloc;

// Documents are many small allocations, made by one thread and freed by another: with the system's allocator 32
// clients create half as many runs per second.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The supervisor of a pod is this very program, single-threaded, before anything else has started; and so is
    // the agent of a local machine, which reads its settings from standard input.
    if let Some(code) = agent::supervisor_main() {
        return code;
    }
    if std::env::args().nth(1).as_deref() == Some("agent") {
        return agent::process::main();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match cli::run::run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
