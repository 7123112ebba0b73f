//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::resolvers::Resolvers;
use crate::server::Given;
use crate::server::cell::Cell;
use crate::server::gateway::Gateway;
use crate::store::StoreArguments;

/// Tekton's API and semantics, without a Kubernetes cluster.
#[derive(Parser)]
#[command(name = "cella", version, about, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which log lines to print on standard error: `info`, or for example `cell=debug,warn`.
    #[arg(long, global = true, default_value = "warn", env = "CELLA_LOG")]
    pub log: String,
    /// Send spans to this OTLP/HTTP collector, for example `http://127.0.0.1:4318`.
    #[arg(long, global = true, env = "CELLA_OTLP")]
    pub otlp: Option<String>,
}

/// What `cella` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Start a whole installation on this host, and stay.
    Up(Box<Up>),
    /// Start an installation, run an example for two tenants, and leave nothing behind.
    Demo(Demo),
    /// Say what this host offers, and what to do about what is missing.
    Doctor,
    /// Tell how a run came to what it is: queue, placement, machine, gate, retry, end.
    Why(Why),
    /// Decide about a run on a snapshot of all that the decision depends on, and print the decision.
    Replay(Replay),
    /// Run one replica of the gateway.
    Gateway(Given<Gateway>),
    /// Run one replica of a cell, or drain a cell.
    #[command(args_conflicts_with_subcommands = true)]
    Cell {
        /// What to do with a cell, instead of being one.
        #[command(subcommand)]
        operate: Option<OperateCell>,
        /// Settings of the replica.
        #[command(flatten)]
        given: Given<Cell>,
    },
    /// Look after a store that processes share.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Show or change what a tenant may.
    #[command(subcommand)]
    Tenant(OperateTenant),
    /// Drain a region.
    Region {
        /// What to do with the region.
        #[command(subcommand)]
        operate: OperateRegion,
    },
}

/// Which run, and whose.
#[derive(clap::Args)]
pub struct Why {
    /// Name of the TaskRun or PipelineRun.
    pub run: String,
    /// Namespace; that of the kubeconfig's context when absent.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// `taskruns` or `pipelineruns`, where there is one of each of that name.
    #[arg(long)]
    pub kind: Option<String>,
    /// The tenant's kubeconfig.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Print what is stored instead, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which run, or which file.
#[derive(clap::Args)]
pub struct Replay {
    /// Name of the TaskRun or PipelineRun.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub run: Option<String>,
    /// Namespace; that of the kubeconfig's context when absent.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// `taskruns` or `pipelineruns`, where there is one of each of that name.
    #[arg(long)]
    pub kind: Option<String>,
    /// The tenant's kubeconfig.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Keep the snapshot in this file. It holds what the run holds.
    #[arg(long)]
    pub save: Option<PathBuf>,
    /// Decide on the snapshot in this file: nothing else is needed.
    #[arg(long)]
    pub from: Option<PathBuf>,
}

/// What can be done to a store.
#[derive(Subcommand)]
pub enum StoreCommand {
    /// Make the database if there is none, and bring its schema up to date. May be repeated.
    Migrate {
        /// Which one.
        #[command(flatten)]
        store: StoreArguments,
    },
}

/// What can be done with a cell.
#[derive(Subcommand)]
pub enum OperateCell {
    /// Let the cell take no new runs, and tell what is left on it until nothing is.
    Drain {
        /// The cell.
        cell: String,
        #[command(flatten)]
        options: Draining,
    },
}

/// What can be done with a region.
#[derive(Subcommand)]
pub enum OperateRegion {
    /// Let no cell of the region take new runs, and tell what is left there until nothing is.
    Drain {
        /// The region.
        region: String,
        #[command(flatten)]
        options: Draining,
    },
}

/// What can be done with a tenant.
#[derive(Subcommand)]
pub enum OperateTenant {
    /// Show its policy.
    Show {
        /// The tenant.
        tenant: String,
        /// Data folder of the installation, where the operator's credential is.
        #[arg(long, default_value = ".cella")]
        data: PathBuf,
    },
    /// Change its policy; what is not named stays.
    Set {
        /// The tenant.
        tenant: String,
        /// Most runs that it may have at one time: a number, or `none`. Runs that have ended are not counted.
        #[arg(long, value_parser = runs_max)]
        runs_max: Option<RunsMax>,
        /// Whether its runs are run again after their machine was lost, unless they say otherwise.
        #[arg(long)]
        rerun_after_loss: Option<bool>,
        /// Data folder of the installation, where the operator's credential is.
        #[arg(long, default_value = ".cella")]
        data: PathBuf,
    },
}

/// A limit on runs, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunsMax(pub Option<u32>);

fn runs_max(text: &str) -> Result<RunsMax, String> {
    let wrong = |_| format!("{text:?} is no limit; write a number, or none");
    if text == "none" { Ok(RunsMax(None)) } else { text.parse().map(|n| RunsMax(Some(n))).map_err(wrong) }
}

/// How to drain.
#[derive(clap::Args)]
pub struct Draining {
    /// Data folder of the installation, where the operator's credential is.
    #[arg(long, default_value = ".cella")]
    pub data: PathBuf,
    /// Take new runs again.
    #[arg(long)]
    pub undo: bool,
    /// Do not wait until nothing is left.
    #[arg(long)]
    pub no_wait: bool,
}

/// Arguments of `up`.
#[derive(clap::Args)]
pub struct Up {
    /// Folder in which everything is kept.
    #[arg(long, default_value = ".cella")]
    pub data: PathBuf,
    /// Port of the gateway on 127.0.0.1; 0 for a free one.
    #[arg(long, default_value_t = 6443)]
    pub port: u16,
    /// Tenant to have; may be repeated.
    #[arg(long = "tenant", default_values = ["acme", "globex"])]
    pub tenants: Vec<String>,
    /// Folder of an OCI image layout that answers for all registries.
    #[arg(long)]
    pub images: Option<PathBuf>,
    /// Most machines that each cell runs at one time.
    #[arg(long, default_value_t = 32)]
    pub machines: usize,
    /// How resolvers reach the world.
    #[command(flatten)]
    pub resolvers: Resolvers,
    /// Where everything durable is. On the embedded store all servers are in one process; on others they are processes.
    #[command(flatten)]
    pub store: StoreArguments,
    /// The address of a name, as `NAME=ADDRESS`, for steps as in their list of hosts, and for resolvers; may be
    /// repeated. For installations that cannot reach what really goes by that name.
    #[arg(long = "host", value_parser = host)]
    pub hosts: Vec<(String, IpAddr)>,
    /// All servers in this one process, whatever the store: for measuring.
    #[arg(long)]
    pub one_process: bool,
    /// Replicas of the gateway, when servers are processes.
    #[arg(long, default_value_t = 2)]
    pub gateways: usize,
    /// Replicas of each cell, when servers are processes.
    #[arg(long, default_value_t = 2)]
    pub replicas: usize,
    /// Let cells sleep after so many seconds without work, when servers are processes.
    #[arg(long)]
    pub sleep_after: Option<u64>,
}

fn host(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || format!("{text:?} is not NAME=ADDRESS; write for example github.com=192.0.2.1");
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), address.parse().map_err(|_| wrong())?))
}

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Demo {
    /// Files to submit; the built-in example when there are none.
    pub files: Vec<PathBuf>,
    /// Folder of an OCI image layout that answers for all registries.
    #[arg(long)]
    pub images: Option<PathBuf>,
}
