//! `cargo x NAME`: everything that a developer runs beside the compiler.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use integration::commands;
use mimalloc::MiMalloc;

/// As in the product; the simulated world, which allocates for a quarter of its time, plays more seeds with it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
    /// Build everything and run the demo.
    Demo {
        /// Files to submit.
        files: Vec<PathBuf>,
    },
    /// Replay answers recorded from the reference implementation.
    Golden {
        /// Another folder of the same format.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Only this group; its failures are named.
        group: Option<String>,
    },
    /// Throw strange inputs at what must hold for every input.
    Fuzz {
        /// How long each target runs, in seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Only this target.
        target: Option<String>,
    },
    /// Run the real kubectl and tkn against a server.
    Clients,
    /// Measure: start, steps, chain, burst, creates, idle, history, wide, place, pipeline.
    Bench {
        /// Which measurement.
        name: String,
        /// Which store, as for `cella up`: `embedded`, `spanner-emulator`.
        #[arg(long)]
        store: Option<String>,
    },
    /// Containers by the low-level runtime alone: a part of `bench steps`.
    #[command(hide = true)]
    Raw {
        /// File with their specifications.
        containers: PathBuf,
        /// Layout of images.
        images: PathBuf,
    },
    /// Every back end of the store, plain and misbehaving, against what the contract promises.
    Conformance,
    /// The simulated world: seeds that decide who goes first, what is lost and who dies.
    Sim(commands::sim::Args),
    /// Real processes on Spanner's emulator, some of which are killed, stopped or cut off: kill, outage, region.
    Drill {
        /// Which drill.
        name: String,
        /// So many `kill -9`s, in `kill`.
        #[arg(long, default_value_t = 200)]
        kills: usize,
        /// The store is away for so many seconds, in `outage`.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Run the example files for real.
    Examples {
        /// Another folder of the same format.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Only files whose path contains this.
        #[arg(long)]
        only: Option<String>,
    },
}

impl Command {
    /// Whether it cannot be done without the Spanner back end.
    fn needs_spanner(&self) -> bool {
        let wished = || integration::server::Store::wished() == integration::server::Store::Emulator;
        match self {
            Self::Conformance | Self::Drill { .. } => true,
            Self::Bench { store, .. } => store.as_deref().is_some_and(|store| store.starts_with("spanner")),
            Self::Clients | Self::Examples { .. } => wished(),
            _ => false,
        }
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if command.needs_spanner() && !commands::spanner::HERE {
        return commands::spanner::again_with_it().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        });
    }
    let result = match command {
        Command::Images => commands::images::run().map(|()| true),
        Command::Demo { files } => commands::demo::run(&files),
        Command::Golden { dir, group } => {
            commands::golden::run(&dir.unwrap_or_else(|| commands::shared().join("golden")), group.as_deref())
        }
        Command::Fuzz { seconds, target } => commands::fuzz::run(target.as_deref(), seconds),
        Command::Clients => commands::clients::run(),
        Command::Bench { name, store } => commands::bench::run(&name, store.as_deref()),
        Command::Raw { containers, images } => {
            commands::bench::raw::measure(&containers, &images).map(|()| true)
        }
        Command::Conformance => commands::conformance::run(),
        Command::Sim(args) => commands::sim::run(&args),
        Command::Drill { name, kills, seconds } => {
            commands::drill::run(&name, commands::drill::Size { kills, seconds })
        }
        Command::Examples { dir, only } => commands::examples::run(
            &dir.unwrap_or_else(|| commands::shared().join("examples")),
            only.as_deref(),
        ),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
