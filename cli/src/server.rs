//! What the server processes `cella gateway` and `cella cell` have in common: their settings, and how they end.

pub mod cell;
pub mod gateway;
pub mod homes;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use base::config::{Reader, Setting};
use base::host::{Either, race};
use base::real::RealJobs;
use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::store::StoreArguments;

/// Time for jobs to leave at the end.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// The settings of one kind of server.
pub trait Settings {
    /// Its settings.
    const ALL: &'static [Setting];
    /// How its variables begin.
    const PREFIX: &'static str;
}

/// What the command line says to a server.
#[derive(Clone, Debug)]
pub struct Given<S> {
    config: Option<PathBuf>,
    check: bool,
    print: bool,
    flags: BTreeMap<String, String>,
    of: PhantomData<S>,
}

impl<S: Settings> clap::FromArgMatches for Given<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let set = |setting: &Setting| {
            Some((setting.name.to_owned(), matches.get_one::<String>(setting.name)?.clone()))
        };
        Ok(Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            check: matches.get_flag("check-config"),
            print: matches.get_flag("print-config"),
            flags: S::ALL.iter().filter_map(set).collect(),
            of: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Settings> clap::Args for Given<S> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config").long("config").value_name("FILE").help("TOML file with these settings");
        let command = command
            .arg(file.value_parser(clap::value_parser!(PathBuf)))
            .arg(
                Arg::new("check-config")
                    .long("check-config")
                    .action(ArgAction::SetTrue)
                    .help("Say what is wrong with the settings, and end"),
            )
            .arg(
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print all settings and where each was set, and end"),
            );
        S::ALL.iter().fold(command, |command, setting| {
            let help = match setting.default {
                Some("") | None => setting.help.to_owned(),
                Some(default) => format!("{} [default: {default}]", setting.help),
            };
            command.arg(Arg::new(setting.name).long(setting.name).value_name("VALUE").help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Settings> Given<S> {
    /// Reads all settings; `Err` holds the exit code when only that was asked.
    ///
    /// # Errors
    /// All faults together.
    pub fn read<T>(&self, read: fn(&mut Reader) -> Option<T>) -> Result<Result<T, ExitCode>> {
        let text = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some((
                    path.display().to_string(),
                    text.with_context(|| format!("cannot read {}", path.display()))?,
                ))
            }
            None => None,
        };
        let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut reader = Reader::new(S::ALL, S::PREFIX, file, std::env::vars(), self.flags.clone());
        let config = read(&mut reader);
        if self.print {
            print!("{}", reader.print());
        }
        let config = reader.finish(config)?;
        if self.check {
            println!("the settings are fine");
        }
        Ok(if self.check || self.print { Err(ExitCode::SUCCESS) } else { Ok(config) })
    }
}

/// The settings by which a store is found, in both kinds of server.
fn store_place(reader: &mut Reader) -> Option<StoreArguments> {
    let spanner_emulator = reader.optional("spanner-emulator", base::config::text);
    let spanner_emulator_rest = reader.optional("spanner-emulator-rest", base::config::text);
    let store = reader.required("store", shared)?;
    Some(StoreArguments { store, spanner_emulator, spanner_emulator_rest, ..StoreArguments::default() })
}

fn shared(text: &str) -> Result<String, String> {
    let database = text.starts_with("spanner://");
    database.then(|| text.to_owned()).ok_or_else(|| {
        "which is no spanner://projects/P/instances/I/databases/D that processes share".to_owned()
    })
}

/// Stays until a signal, the end of standard input (if `with_stdin`) or a bug.
async fn until_told(jobs: &RealJobs, with_stdin: bool) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let input = async {
        if with_stdin {
            agent::process::input_ended().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let asked = race(race(interrupt.recv(), terminate.recv()), input);
    Ok(match race(asked, jobs.panicked()).await {
        Either::Left(_) => ExitCode::SUCCESS,
        // A bug: what it was is printed; going on would hide it.
        Either::Right(()) => ExitCode::FAILURE,
    })
}

/// Ends all jobs.
async fn leave(jobs: &RealJobs) {
    let late = jobs.shutdown(LEAVE_MAX).await;
    if !late.is_empty() {
        tracing::warn!(?late, "some jobs did not end in time");
    }
}

#[cfg(test)]
mod tests;
