//! `cella up`: a whole installation on this host: a gateway on https, two cells, the embedded store, and machines
//! that are processes running real containers.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::Host;
use base::real::RealJobs;
use cell::provider::local;
use serde_json::json;
use store::backend::Store;
use store::tenant::TenantStore;
use store::vault::Vault;
use tekton::engine::decide::Installation;
use tenancy::access::{Caller, Role};
use tenancy::id::TenantId;
use tokio::net::TcpListener;

use crate::client::Access;
use crate::keys::{self, Keys};
use crate::resolvers::Resolvers;
use crate::store::{Opened, StoreArguments};
use crate::{images, kubeconfig};

/// The cells of a local installation: id and region.
pub const CELLS: [(&str, &str); 2] = [("us-central1", "us-central1"), ("europe-west1", "europe-west1")];
/// Tokens of a local installation live this long, seconds.
const TOKEN_LIFE_S: i64 = 30 * 24 * 3600;
const AUDIENCE: &str = "cella-gateway";
const LOG_BYTES_MAX: u64 = 64 << 20;
const FIRST_HEARTBEAT_MAX: Duration = Duration::from_secs(10);

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
    /// Where everything durable is.
    pub store: StoreArguments,
}

/// A running installation.
pub struct Running {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Access of each tenant's user, in order of the options.
    pub tenants: Vec<(String, Access, PathBuf)>,
    jobs: Arc<RealJobs>,
    data: PathBuf,
    _store: Opened,
}

/// Starts everything and waits until it is ready.
///
/// # Errors
/// Says what is missing and what to do about it.
pub async fn start(options: &Options, host: &Host, jobs: Arc<RealJobs>) -> Result<Running> {
    let data = prepare(&options.data)?;
    let keys = keys::load_or_make(&data, host)?;
    let opened = crate::store::open(&options.store, &data, host).await?;
    let (counted, commits) = store::counted::Counted::new(opened.store.clone());
    let store: Store = counted;
    let vault = Arc::new(Vault::new(&keys.vault));
    for (cell, region) in CELLS {
        start_cell(cell, region, options, &data, host, &keys, &store, &vault)?;
    }
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let tls = base::tls::load_or_make(&data.join("tls"), &names)?;
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await.with_context(|| {
        format!("port {} of this host cannot be used; choose another with --port", options.port)
    })?;
    let address = format!("127.0.0.1:{}", listener.local_addr()?.port());
    let tenants = TenantStore::new(store.clone(), host.clone());
    let app = gateway::App::new(gateway::Parts {
        host: host.clone(),
        tenants,
        vault,
        keys: keys.tokens.clone(),
        audience: AUDIENCE.to_owned(),
        peer_token: keys.peer.clone(),
        admission: gateway::Admission::Tekton,
        commits,
    });
    let (router, clock, listening) = (gateway::router(app), host.clock.clone(), jobs.clone());
    host.spawn("gateway", async move {
        if let Err(error) = base::serve::https(listener, tls.server, router, clock, listening).await {
            tracing::error!(%error, "the gateway's listener has failed");
        }
    });
    await_heartbeats(host, &store).await?;
    let mut known = Vec::new();
    for name in &options.tenants {
        let access = tenant(name, &address, &tls.authority_pem, host, &store, &keys).await?;
        let path = data.join(format!("kubeconfig-{name}.yaml"));
        kubeconfig::write(&path, name, &access)?;
        known.push((name.clone(), access, path));
    }
    Ok(Running { address, tenants: known, jobs, data, _store: opened })
}

fn prepare(data: &Path) -> Result<PathBuf> {
    fs::create_dir_all(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let data = data.canonicalize()?;
    for folder in ["home", "logs", "machines", "run"] {
        fs::create_dir_all(data.join(folder))?;
    }
    Ok(data)
}

#[allow(clippy::too_many_arguments, reason = "each is a different part of one installation")]
fn start_cell(
    cell: &str,
    region: &str,
    options: &Options,
    data: &Path,
    host: &Host,
    keys: &Keys,
    store: &Store,
    vault: &Arc<Vault>,
) -> Result<()> {
    let (at_home, for_agents) = (format!("local:{cell}"), socket(data, cell)?);
    let program = std::env::current_exe().context("cannot find this executable")?;
    let entrypoint = program.with_file_name("entrypoint");
    anyhow::ensure!(
        entrypoint.exists(),
        "{} is missing: the program that runs steps must stand beside this one (cargo x builds it)",
        entrypoint.display()
    );
    let layout = options.images.as_deref();
    let settings = local::Settings {
        program,
        arguments: vec!["agent".into()],
        cell: for_agents.clone(),
        data: data.join("machines").join(cell),
        agent: json!({
            "entrypoint": entrypoint,
            "images": images::for_agents(&data.join("images"), layout),
            "hosts": options.hosts,
        }),
    };
    let config = cell::Config {
        cell: cell.to_owned(),
        region: region.to_owned(),
        address: at_home.clone(),
        machines_max: options.machines_max,
        arch: vec![if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.to_owned()],
        machine_key: keys.machines,
        peer_token: keys.peer.clone(),
        data: data.join("volumes"),
    };
    let parts = cell::Parts {
        host: host.clone(),
        store: store.clone(),
        provider: local::Local::new(host.clone(), settings),
        sink: cell::logs::files::Files::new(&data.join("logs"), LOG_BYTES_MAX),
        images: images::for_cell(host, layout),
        secrets: Arc::new(cell::secrets::Vaulted(vault.clone())),
        fetch: options.resolvers.fetch(host)?,
        hubs: options.resolvers.hubs(),
        engine: cell::Engine {
            taskrun: tekton::engine::taskrun::decide,
            pipelinerun: tekton::engine::pipelinerun::decide,
        },
        installation: installation(),
    };
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

/// Address of the socket at which agents reach a cell. Steps cannot: it is in no container.
fn socket(data: &Path, cell: &str) -> Result<String> {
    let path = data.join("run").join(format!("{cell}.sock"));
    let _ = fs::remove_file(&path);
    let text = path.display().to_string();
    anyhow::ensure!(
        text.len() < 100,
        "the path of the data folder is too long for a socket ({} characters at most); choose a shorter one with --data",
        100 - cell.len() - 12
    );
    Ok(format!("unix:{text}"))
}

/// Names that appear in Pods; nothing is pulled by them: the agent does their work.
pub(crate) fn installation() -> Installation {
    let image = |name: &str| format!("cella.invalid/{name}:v1");
    Installation {
        entrypoint_image: image("entrypoint"),
        nop_image: image("nop"),
        shell_image: image("shell"),
        shell_image_win: image("shell-win"),
        workingdirinit_image: image("workingdirinit"),
        sidecarlogresults_image: image("sidecarlogresults"),
        release: store::tenant::TEKTON.into(),
        kubernetes_minor: 33,
        resolvers: true,
    }
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
            bell.rung().await;
        }
    };
    host.within(FIRST_HEARTBEAT_MAX, all).await.context("the cells have not come up in time")?
}

async fn tenant(
    name: &str,
    address: &str,
    authority_pem: &str,
    host: &Host,
    store: &Store,
    keys: &Keys,
) -> Result<Access> {
    let id = TenantId::parse(name)?;
    store::tenant::found(store, host, &id, Vec::new())
        .await
        .with_context(|| format!("cannot make tenant {name}"))?;
    let caller = Caller { tenant: id, user: format!("{name}-admin"), groups: Vec::new(), role: Role::Admin };
    let token = keys.tokens.issue(&caller, AUDIENCE, host.clock.utc().0, TOKEN_LIFE_S)?;
    Ok(Access { address: address.to_owned(), authority_pem: authority_pem.to_owned(), token })
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
        let ready = json!({"address": self.address, "authority_pem": authority, "tenants": tokens});
        let fresh = self.data.join("ready.json.new");
        kubeconfig::write_private(&fresh, ready.to_string().as_bytes())?;
        fs::rename(fresh, self.data.join("ready.json"))?;
        Ok(())
    }

    /// Stops everything; what was running on machines is stopped with them.
    pub async fn stop(self) {
        let late = self.jobs.shutdown(Duration::from_secs(10)).await;
        if !late.is_empty() {
            tracing::warn!(?late, "some jobs did not end in time");
        }
        let _ = fs::remove_file(self.data.join("ready.json"));
        for (cell, _) in CELLS {
            if let Err(error) = agent::sweep(&self.data.join("machines").join(cell)) {
                tracing::warn!(%error, cell, "not everything of dead machines could be removed");
            }
        }
    }
}
