//! `cargo x NAME`: everything that a developer runs beside the compiler.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use integration::commands;

#[derive(Parser)]
#[command(name = "cargo x", about = "Everything that a developer of Cella runs beside the compiler")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the stand-in container images from Debian's packages.
    Images,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Images => commands::images::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
