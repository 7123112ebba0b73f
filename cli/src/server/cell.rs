//! `cella cell`: one replica of a cell as a process.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::store::backend::Store;
use ::store::vault::Vault;
use anyhow::{Context, Result, ensure};
use base::config::{self, Reader, Setting};
use base::host::Host;
use base::real;
use cell::fetch::egress::{Allowed, NotARange};
use cell::provider::{MachineProvider, hosted, local};
use serde_json::json;
use tekton::engine::decide::Installation;
use tokio::net::TcpListener;

use super::{Given, Settings, leave, store_place, until_told};
use crate::images;
use crate::keys::{self, CellKeys};
use crate::resolvers::Resolvers;
use crate::store::{self, StoreArguments};

const LOG_BYTES_MAX: u64 = 64 << 20;

/// What a cell can be told.
#[derive(Clone, Copy, Debug)]
pub struct Cell;

impl Settings for Cell {
    const PREFIX: &'static str = "CELLA_CELL_";
    const ALL: &'static [Setting] = &[
        Setting { name: "cell", help: "Id of the cell", default: None },
        Setting { name: "region", help: "Region of the cell", default: None },
        Setting { name: "replica", help: "Name of this process, unique in its cell", default: Some("1") },
        Setting {
            name: "listen",
            help: "Address and port at which gateways and other replicas reach it",
            default: Some("127.0.0.1:0"),
        },
        Setting {
            name: "advertise",
            help: "The same as others see it, when that is another address",
            default: None,
        },
        Setting {
            name: "tls",
            help: "Folder of server.pem and server.key: with it gateways and replicas are served with TLS, without it in plain on loopback",
            default: None,
        },
        Setting {
            name: "authority",
            help: "PEM of the authority that signs replicas' certificates",
            default: None,
        },
        Setting {
            name: "agents",
            help: "Address at which agents reach it: unix:PATH or HOST:PORT",
            default: None,
        },
        Setting { name: "secrets", help: "File of this cell's keys, for its owner only", default: None },
        Setting { name: "store", help: "spanner://projects/P/instances/I/databases/D", default: None },
        Setting { name: "spanner-emulator", help: "HOST:PORT of an emulator (gRPC)", default: None },
        Setting { name: "spanner-emulator-rest", help: "HOST:PORT of an emulator (REST)", default: None },
        Setting {
            name: "machines",
            help: "Where machines come from: unix:PATH of a machines' host that replicas share, or local:FOLDER for agents of this very process",
            default: None,
        },
        Setting { name: "machines-max", help: "Most machines at one time", default: Some("32") },
        Setting { name: "logs", help: "Folder of logs; the same for all replicas", default: None },
        Setting { name: "volumes", help: "Folder of claims; the same for all replicas", default: None },
        Setting { name: "images", help: "Image layout that answers for all registries", default: None },
        Setting {
            name: "egress-allow",
            help: "Addresses that resolvers may connect to although they are not public, separated by commas",
            default: None,
        },
        Setting {
            name: "resolver-ca",
            help: "PEM files of authorities that resolvers trust beside this host's, separated by commas",
            default: None,
        },
        Setting { name: "artifact-hub", help: "Artifact Hub that the hub resolver asks", default: None },
        Setting { name: "tekton-hub", help: "Tekton Hub that the hub resolver asks", default: None },
        Setting { name: "heartbeat", help: "Time between two heartbeats", default: Some("2s") },
        Setting { name: "sleep-after", help: "Sleep after so long without work", default: None },
        Setting { name: "leave-with-stdin", help: "End when standard input ends", default: Some("false") },
    ];
}

/// Settings of a replica of a cell.
pub struct Config {
    cell: String,
    region: String,
    replica: String,
    listen: SocketAddr,
    advertise: Option<String>,
    tls: Option<PathBuf>,
    authority: Option<PathBuf>,
    agents: String,
    secrets: PathBuf,
    store: StoreArguments,
    machines: String,
    machines_max: usize,
    logs: PathBuf,
    volumes: PathBuf,
    images: Option<PathBuf>,
    resolvers: Resolvers,
    heartbeat: Duration,
    sleep_after: Option<Duration>,
    leave_with_stdin: bool,
}

fn name(text: &str) -> Result<String, String> {
    tenancy::id::CellId::parse(text).map(|id| id.to_string()).map_err(|error| error.to_string())
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "which is no address with a port, for example 127.0.0.1:7001".to_owned())
}

fn machines(text: &str) -> Result<String, String> {
    let known = text.starts_with("unix:") || text.starts_with("local:");
    known.then(|| text.to_owned()).ok_or_else(|| "which is neither unix:PATH nor local:FOLDER".to_owned())
}

fn allowed(text: &str) -> Result<Vec<Allowed>, String> {
    text.split(',').map(|range| range.parse().map_err(|error: NotARange| error.to_string())).collect()
}

fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    Ok(text.split(',').map(PathBuf::from).collect())
}

/// Reads them.
pub fn read(reader: &mut Reader) -> Option<Config> {
    // All of them before any is missed, so that all faults are told.
    let cell = reader.required("cell", name);
    let region = reader.required("region", name);
    let replica = reader.required("replica", name);
    let listen = reader.required("listen", socket);
    let advertise = reader.optional("advertise", config::text);
    let tls = reader.optional("tls", config::path);
    let authority = reader.optional("authority", config::path);
    let agents = reader.required("agents", config::text);
    let secrets = reader.required("secrets", config::path);
    let store = store_place(reader);
    let machines = reader.required("machines", machines);
    let machines_max = reader.required("machines-max", config::number);
    let logs = reader.required("logs", config::path);
    let volumes = reader.required("volumes", config::path);
    let images = reader.optional("images", config::path);
    let resolvers = Resolvers {
        egress_allow: reader.optional("egress-allow", allowed).unwrap_or_default(),
        authorities: reader.optional("resolver-ca", paths).unwrap_or_default(),
        artifact_hub: reader.optional("artifact-hub", config::text),
        tekton_hub: reader.optional("tekton-hub", config::text),
        ..Resolvers::default()
    };
    let heartbeat = reader.required("heartbeat", config::duration);
    let sleep_after = reader.optional("sleep-after", config::duration);
    let leave_with_stdin = reader.required("leave-with-stdin", config::flag);
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && tls.is_none()
    {
        reader.fault(format!("listen is {listen}, which is no loopback address: name a folder for tls"));
    }
    Some(Config {
        cell: cell?,
        region: region?,
        replica: replica?,
        listen: listen?,
        advertise,
        tls,
        authority,
        agents: agents?,
        secrets: secrets?,
        store: store?,
        machines: machines?,
        machines_max: machines_max?,
        logs: logs?,
        volumes: volumes?,
        images,
        resolvers,
        heartbeat: heartbeat?,
        sleep_after,
        leave_with_stdin: leave_with_stdin?,
    })
}

/// Runs a replica until it is told to end.
///
/// # Errors
/// Says what is missing.
pub async fn run(given: &Given<Cell>) -> Result<ExitCode> {
    let config = match given.read(read)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let secrets: CellKeys = keys::read(&config.secrets)?;
    let (host, jobs, net) = real::host_with_net();
    if let Some(authority) = &config.authority {
        let pem = std::fs::read_to_string(authority);
        let pem = pem.with_context(|| format!("cannot read {}", authority.display()))?;
        net.believe(base::tls::client(&pem)?);
    }
    let tls = config.tls.as_deref().map(base::tls::load).transpose()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("{} cannot be used; choose another address with --listen", config.listen))?;
    let bound = listener.local_addr()?;
    let address = config.advertise.clone().unwrap_or_else(|| match tls {
        Some(_) => format!("https://{bound}"),
        None => bound.to_string(),
    });
    let opened = store::open(&config.store, Path::new(""), &host).await?;
    let store = opened.store.clone();
    let layout = config.images.as_deref();
    let own = match config.machines.strip_prefix("local:") {
        Some(folder) => {
            let data = Path::new(folder);
            Some(agents(&host, data, &config.agents, (&data.join("images"), layout, &BTreeMap::new()))?)
        }
        None => None,
    };
    let provider: Arc<dyn MachineProvider> = match &own {
        Some(own) => own.clone(),
        None => hosted::Hosted::new(host.clone(), config.machines.clone()),
    };
    let settings = cell::Config {
        cell: config.cell.clone(),
        region: config.region.clone(),
        replica: config.replica.clone(),
        address,
        agents: config.agents.clone(),
        machines_max: config.machines_max,
        arch: arch(),
        machine_key: secrets.machines,
        peers: secrets.peers,
        data: config.volumes.clone(),
        sleep_after: config.sleep_after,
    };
    let vault = Arc::new(Vault::new(&secrets.vault));
    let parts = parts(&host, store, provider, &config.logs, layout, &vault, &config.resolvers)?;
    let (router, _cell) = cell::Cell::start_at(
        settings,
        parts,
        cell::Pace { heartbeat: config.heartbeat, ..cell::Pace::default() },
    );
    if let Some(path) = config.agents.strip_prefix("unix:") {
        // That of an earlier life.
        drop(std::fs::remove_file(path));
    }
    let serving = host.net.serve(&config.agents, router.clone());
    host.spawn("agents", async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the listener for agents has failed");
        }
    });
    let (clock, listening) = (host.clock.clone(), jobs.clone());
    host.spawn("peers", async move {
        let served = match tls {
            Some(tls) => base::serve::https(listener, tls.server, router, clock, listening).await,
            None => base::serve::plain(listener, router, clock, listening).await,
        };
        if let Err(error) = served {
            tracing::error!(%error, "the listener for peers has failed");
        }
    });
    println!("cell: {} ({}) at {bound}", config.cell, config.replica);
    let code = until_told(&jobs, config.leave_with_stdin).await?;
    if let Some(own) = own {
        own.leave().await;
    }
    leave(&jobs).await;
    Ok(code)
}

/// Architectures of this host, in Go's words.
pub fn arch() -> Vec<String> {
    vec![if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.to_owned()]
}

/// Machines on this host, that are agents started by this process: `data` is a folder of their own, `cell` the
/// addresses at which they reach the cell; the last
/// parts are the cache of images, what stands in for registries, and addresses of names.
///
/// # Errors
/// When a program is missing.
pub fn agents(
    host: &Host,
    data: &Path,
    cell: &str,
    (cache, layout, hosts): (&Path, Option<&Path>, &BTreeMap<String, IpAddr>),
) -> Result<Arc<local::Local>> {
    let program = std::env::current_exe().context("cannot find this executable")?;
    let entrypoint = program.with_file_name("entrypoint");
    ensure!(
        entrypoint.exists(),
        "{} is missing: the program that runs steps must stand beside this one (cargo x builds it)",
        entrypoint.display()
    );
    let settings = local::Settings {
        program,
        arguments: vec!["agent".into()],
        cell: cell.to_owned(),
        data: data.to_owned(),
        agent: json!({
            "entrypoint": entrypoint,
            "images": images::for_agents(cache, layout),
            "hosts": hosts,
        }),
    };
    Ok(local::Local::new(host.clone(), settings))
}

/// What a cell works with.
///
/// # Errors
/// When a file that resolvers need cannot be read.
pub fn parts(
    host: &Host,
    store: Store,
    provider: Arc<dyn MachineProvider>,
    logs: &Path,
    layout: Option<&Path>,
    vault: &Arc<Vault>,
    resolvers: &Resolvers,
) -> Result<cell::Parts> {
    Ok(cell::Parts {
        host: host.clone(),
        store,
        provider,
        sink: cell::logs::files::Files::new(logs, LOG_BYTES_MAX),
        images: images::for_cell(host, layout),
        secrets: Arc::new(cell::secrets::Vaulted(vault.clone())),
        fetch: resolvers.fetch(host)?,
        hubs: resolvers.hubs(),
        engine: cell::Engine {
            taskrun: tekton::engine::taskrun::decide,
            pipelinerun: tekton::engine::pipelinerun::decide,
        },
        installation: installation(),
    })
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
        release: ::store::tenant::TEKTON.into(),
        kubernetes_minor: 33,
        resolvers: true,
    }
}
