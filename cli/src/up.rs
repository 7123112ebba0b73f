//! `cella up`: a whole installation on this host: gateway on https, two cells, a store, and machines that are
//! processes running real containers. On the embedded store all servers are in this one process; on Spanner's
//! emulator they are processes of their own, several of each ([`fleet`]).

mod fleet;
mod front;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::Host;
use base::real::RealJobs;
use serde_json::json;
use store::backend::Store;
use store::counted::Counted;
use store::vault::Vault;
use tenancy::access::{Caller, Operator, Role};
use tenancy::id::TenantId;
use tokio::net::TcpListener;

use crate::client::Access;
use crate::keys::{self, Keys};
use crate::kubeconfig;
use crate::resolvers::Resolvers;
use crate::server::cell as cells;
use crate::server::gateway::{self as gateways, AUDIENCE};
use crate::store::{Opened, StoreArguments};

/// The cells of a local installation: id and region.
pub const CELLS: [(&str, &str); 2] = [("us-central1", "us-central1"), ("europe-west1", "europe-west1")];
/// Tokens of a local installation live this long, seconds.
const TOKEN_LIFE_S: i64 = 30 * 24 * 3600;
const FIRST_HEARTBEAT_MAX: Duration = Duration::from_secs(30);
/// Name of the file by which operators' commands reach the installation.
pub const OPERATOR: &str = "operator.json";

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Port of the gateway; 0: a free one.
    pub port: u16,
    /// Tenants to have.
    pub tenants: Vec<String>,
    /// Folder of an OCI image layout that stands in for registries.
    pub images: Option<PathBuf>,
    /// Most machines of each cell at one time.
    pub machines_max: usize,
    /// How resolvers reach the world.
    pub resolvers: Resolvers,
    /// Addresses of names, for steps.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Where everything durable is; what is not embedded is served by processes.
    pub store: StoreArguments,
    /// No processes, whatever the store.
    pub one_process: bool,
    /// Replicas of the gateway, as processes.
    pub gateways: usize,
    /// Replicas of each cell, as processes.
    pub replicas: usize,
    /// Cells that are processes sleep after so long without work.
    pub sleep_after: Option<Duration>,
    /// Which log lines server processes print.
    pub log: String,
}

/// A running installation.
pub struct Running {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Access of each tenant's user, in order of the options.
    pub tenants: Vec<(String, Access, PathBuf)>,
    /// Access of the operator.
    operator: Access,
    jobs: Arc<RealJobs>,
    data: PathBuf,
    fleet: Option<fleet::Fleet>,
    store: Opened,
}

/// Starts everything and waits until it is ready.
///
/// # Errors
/// Says what is missing and what to do about it.
pub async fn start(options: &Options, host: &Host, jobs: Arc<RealJobs>) -> Result<Running> {
    let data = prepare(&options.data)?;
    let keys = keys::load_or_make(&data, host)?;
    let tls = base::tls::load_or_make(&data.join("tls"), &names())?;
    let opened = crate::store::open(&options.store, &data, host).await?;
    let mut running = match opened.shared.clone().filter(|_| !options.one_process) {
        None => in_one(options, host, jobs, data, &keys, tls, opened).await?,
        Some(shared) => fleet::start(options, host, jobs, data, &keys, tls, (opened, shared)).await?,
    };
    running.write_operator()?;
    Ok(running)
}

/// What a server certificate of this host stands for.
fn names() -> [String; 3] {
    ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]
}

#[allow(clippy::too_many_arguments, reason = "each is a different part of one installation")]
async fn in_one(
    options: &Options,
    host: &Host,
    jobs: Arc<RealJobs>,
    data: PathBuf,
    keys: &Keys,
    tls: base::tls::LocalTls,
    opened: Opened,
) -> Result<Running> {
    // In one process, metrics tell of everybody's commits.
    let (counted, commits) = Counted::new(opened.store.clone());
    let store: Store = counted.clone();
    for (cell, region) in CELLS {
        start_cell(cell, region, options, &data, host, keys, &store)?;
    }
    let listener = listen(options.port).await?;
    let address = format!("127.0.0.1:{}", listener.local_addr()?.port());
    let app = gateways::app(host, (counted, commits), keys.gateway()?);
    let (router, clock, listening) = (gateway::router(app), host.clock.clone(), jobs.clone());
    host.spawn("gateway", async move {
        if let Err(error) = base::serve::https(listener, tls.server, router, clock, listening).await {
            tracing::error!(%error, "the gateway's listener has failed");
        }
    });
    await_heartbeats(host, &store).await?;
    let found = Found { address, authority_pem: tls.authority_pem, data };
    let tenants = found.tenants(options, host, &store, keys).await?;
    let operator = found.operator(host, keys)?;
    Ok(Running {
        address: found.address,
        tenants,
        operator,
        jobs,
        data: found.data,
        fleet: None,
        store: opened,
    })
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("port {port} of this host cannot be used; choose another with --port"))
}

fn prepare(data: &Path) -> Result<PathBuf> {
    fs::create_dir_all(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let data = data.canonicalize()?;
    for folder in ["home", "logs", "machines", "run"] {
        fs::create_dir_all(data.join(folder))?;
    }
    Ok(data)
}

fn start_cell(
    cell: &str,
    region: &str,
    options: &Options,
    data: &Path,
    host: &Host,
    keys: &Keys,
    store: &Store,
) -> Result<()> {
    let (at_home, for_agents) = (format!("local:{cell}"), socket(data, cell)?);
    let layout = options.images.as_deref();
    let machines = data.join("machines").join(cell);
    let provider =
        cells::agents(host, &machines, &for_agents, (&data.join("images"), layout, &options.hosts))?;
    let secrets = keys.cell(cell)?;
    let config = cell::Config {
        cell: cell.to_owned(),
        region: region.to_owned(),
        replica: "1".to_owned(),
        address: at_home.clone(),
        agents: for_agents.clone(),
        machines_max: options.machines_max,
        arch: cells::arch(),
        machine_key: secrets.machines,
        peers: secrets.peers,
        data: data.join("volumes"),
        sleep_after: None,
    };
    let vault = Arc::new(Vault::new(&secrets.vault));
    let parts =
        cells::parts(host, store.clone(), provider, &data.join("logs"), layout, &vault, &options.resolvers)?;
    let (router, _cell) = cell::Cell::start(config, parts);
    for address in [at_home, for_agents] {
        let serving = host.net.serve(&address, router.clone());
        host.spawn("cell", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, address, "a cell's listener has failed");
            }
        });
    }
    Ok(())
}

/// Address of a socket in the data folder. Steps cannot reach it: it is in no container.
fn socket(data: &Path, name: &str) -> Result<String> {
    let path = data.join("run").join(format!("{name}.sock"));
    let _ = fs::remove_file(&path);
    let text = path.display().to_string();
    anyhow::ensure!(
        text.len() < 100,
        "the path of the data folder is too long for a socket ({} characters at most); choose a shorter one with --data",
        100 - name.len() - 12
    );
    Ok(format!("unix:{text}"))
}

async fn await_heartbeats(host: &Host, store: &Store) -> Result<()> {
    let all = async {
        let mut bell = store.bell(store::backend::Table::Cell, "cells");
        loop {
            let reads =
                CELLS.iter().map(|(cell, _)| store::backend::Read::Get(store::records::cell::row(cell)));
            let snapshot = store.snapshot(store::backend::At::Latest, reads.collect()).await?;
            if snapshot.answers.iter().all(|answer| !answer.rows.is_empty()) {
                return anyhow::Ok(());
            }
            base::host::race(bell.rung(), host.clock.sleep(Duration::from_millis(200))).await;
        }
    };
    host.within(FIRST_HEARTBEAT_MAX, all).await.context("the cells have not come up in time")?
}

/// Where an installation is found.
struct Found {
    address: String,
    authority_pem: String,
    data: PathBuf,
}

impl Found {
    /// Makes the tenants, and a kubeconfig for each.
    async fn tenants(
        &self,
        options: &Options,
        host: &Host,
        store: &Store,
        keys: &Keys,
    ) -> Result<Vec<(String, Access, PathBuf)>> {
        let mut known = Vec::new();
        for name in &options.tenants {
            let id = TenantId::parse(name)?;
            store::tenant::found(store, host, &id, Vec::new())
                .await
                .with_context(|| format!("cannot make tenant {name}"))?;
            let caller =
                Caller { tenant: id, user: format!("{name}-admin"), groups: Vec::new(), role: Role::Admin };
            let access =
                self.access(keys.tokens.issue(&caller, AUDIENCE, host.clock.utc().0, TOKEN_LIFE_S)?);
            let path = self.data.join(format!("kubeconfig-{name}.yaml"));
            kubeconfig::write(&path, name, &access)?;
            known.push((name.clone(), access, path));
        }
        Ok(known)
    }

    fn operator(&self, host: &Host, keys: &Keys) -> Result<Access> {
        let operator = Operator { user: "local-operator".into() };
        let now_us = host.clock.utc().0;
        let audience = gateway::authn::OPERATORS;
        Ok(self.access(keys.tokens.issue_operator(&operator, audience, now_us, TOKEN_LIFE_S)?))
    }

    fn access(&self, token: String) -> Access {
        Access { address: self.address.clone(), authority_pem: self.authority_pem.clone(), token }
    }
}

impl Running {
    /// Tells other programs how to reach this installation, in `ready.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self) -> Result<()> {
        let authority = self.tenants.first().map(|(_, access, _)| access.authority_pem.clone());
        let tokens: BTreeMap<_, _> =
            self.tenants.iter().map(|(name, access, _)| (name.clone(), access.token.clone())).collect();
        let ready = json!({
            "address": self.address,
            "authority_pem": authority,
            "tenants": tokens,
            "emulator": self.store.emulator,
        });
        let fresh = self.data.join("ready.json.new");
        kubeconfig::write_private(&fresh, ready.to_string().as_bytes())?;
        fs::rename(fresh, self.data.join("ready.json"))?;
        Ok(())
    }

    /// Lets the commands of operators on this host find the installation.
    fn write_operator(&mut self) -> Result<()> {
        let Access { address, authority_pem, token } = &self.operator;
        let access = json!({"address": address, "authority_pem": authority_pem, "token": token});
        kubeconfig::write_private(&self.data.join(OPERATOR), access.to_string().as_bytes())
    }

    /// Stops everything; what was running on machines is stopped with them.
    pub async fn stop(self) {
        let _ = fs::remove_file(self.data.join("ready.json"));
        if let Some(fleet) = self.fleet {
            fleet.stop().await;
        }
        // Last, and not before its users have left.
        let _store = self.store;
        let late = self.jobs.shutdown(Duration::from_secs(10)).await;
        if !late.is_empty() {
            tracing::warn!(?late, "some jobs did not end in time");
        }
        for (cell, _) in CELLS {
            if let Err(error) = agent::sweep(&self.data.join("machines").join(cell)) {
                tracing::warn!(%error, cell, "not everything of dead machines could be removed");
            }
        }
    }
}
