//! The installation as processes on a store that they share: replicas of the gateway behind one port, replicas of each cell,
//! and the machines' host of each cell, which is this process. A server that dies is started again; all of them end
//! with this process, however it ends: their standard input is a pipe from it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener as Std;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::{Either, Host, race};
use base::real::RealJobs;
use base::tls::LocalTls;
use cell::provider::hosted;
use cell::provider::local::Local;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{oneshot, watch};

use super::{CELLS, Found, Options, Running, await_heartbeats, front, listen, names, socket};
use crate::keys::{self, Keys};
use crate::resolvers::Resolvers;
use crate::server::cell as cells;
use crate::store::{Opened, StoreArguments};

/// Pause before a server that has died is started again.
const AGAIN: Duration = Duration::from_millis(300);
/// Time for a server to end when it is told to.
const END_MAX: Duration = Duration::from_secs(15);
/// Time for gateways to listen.
const UP_MAX: Duration = Duration::from_secs(30);
/// Heartbeats on one host may be quick: a region that is cut off is noticed by six of them that are missing.
const HEARTBEAT: &str = "1s";

/// The processes.
pub struct Fleet {
    stop: watch::Sender<bool>,
    ended: Vec<oneshot::Receiver<()>>,
    machines: Vec<Arc<Local>>,
}

/// Process ids by name, told to drills in `processes.json`.
struct Processes {
    file: PathBuf,
    ids: Mutex<BTreeMap<String, u32>>,
}

impl Processes {
    fn set(&self, name: &str, id: Option<u32>) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => drop(ids.insert(name.to_owned(), id)),
            None => drop(ids.remove(name)),
        }
        let text = serde_json::to_vec(&*ids).unwrap_or_default();
        let fresh = self.file.with_extension("new");
        if let Err(error) = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.file)) {
            tracing::warn!(%error, "process ids cannot be told");
        }
    }
}

/// Starts everything and waits until it is ready.
#[allow(clippy::too_many_arguments, reason = "each is a different part of one installation")]
pub(super) async fn start(
    options: &Options,
    host: &Host,
    jobs: Arc<RealJobs>,
    data: PathBuf,
    keys: &Keys,
    tls: LocalTls,
    (opened, shared): (Opened, StoreArguments),
) -> Result<Running> {
    let listener = listen(options.port).await?;
    let address = format!("127.0.0.1:{}", listener.local_addr()?.port());
    let (stop, stopping) = watch::channel(false);
    let processes =
        Arc::new(Processes { file: data.join("processes.json"), ids: Mutex::new(BTreeMap::new()) });
    let mut starting =
        Starting { host, options, data: &data, shared: &shared, stopping, processes, ended: Vec::new() };
    let mut machines = Vec::new();
    for (cell, region) in CELLS {
        machines.push(starting.cell(cell, region, keys)?);
    }
    let ports = starting.gateways(keys)?;
    let ended = starting.ended;
    for port in &ports {
        await_port(host, *port).await?;
    }
    let behind = host.clone();
    host.spawn("front", async move { front::serve(listener, ports, behind).await });
    let store = opened.store.clone();
    await_heartbeats(host, &store).await?;
    let found = Found { address, authority_pem: tls.authority_pem, data };
    let tenants = found.tenants(options, host, &store, keys).await?;
    let operator = found.operator(host, keys)?;
    let fleet = Some(Fleet { stop, ended, machines });
    Ok(Running { address: found.address, tenants, operator, jobs, data: found.data, fleet, store: opened })
}

struct Starting<'a> {
    host: &'a Host,
    options: &'a Options,
    data: &'a Path,
    shared: &'a StoreArguments,
    stopping: watch::Receiver<bool>,
    processes: Arc<Processes>,
    ended: Vec<oneshot::Receiver<()>>,
}

impl Starting<'_> {
    /// Starts the replicas of a cell, and serves its machines.
    fn cell(&mut self, cell: &str, region: &str, keys: &Keys) -> Result<Arc<Local>> {
        let (data, layout) = (self.data, self.options.images.as_deref());
        let certificate = data.join("tls").join(cell);
        base::tls::issue(&data.join("tls"), &certificate, &names())?;
        let secrets = data.join("run").join(format!("{cell}-keys.json"));
        keys::write(&secrets, &keys.cell(cell)?)?;
        let agents: Vec<String> = (1..=self.options.replicas)
            .map(|n| socket(data, &format!("{cell}-{n}")))
            .collect::<Result<_>>()?;
        let folder = data.join("machines").join(cell);
        let machines = cells::agents(
            self.host,
            &folder,
            &agents.join(","),
            (&data.join("images"), layout, &self.options.hosts),
        )?;
        let at = socket(data, &format!("{cell}-m"))?;
        let router = hosted::router(self.host, machines.clone(), self.options.machines_max);
        let serving = self.host.net.serve(&at, router);
        self.host.spawn("machines' host", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the machines' host has failed");
            }
        });
        for (n, agents) in (1..).zip(agents) {
            let mut settings = self.common(&secrets);
            settings.extend([
                ("cell", cell.to_owned()),
                ("region", region.to_owned()),
                ("replica", n.to_string()),
                ("listen", format!("127.0.0.1:{}", free_port()?)),
                ("tls", certificate.display().to_string()),
                ("agents", agents),
                ("machines", at.clone()),
                ("machines-max", self.options.machines_max.to_string()),
                ("logs", data.join("logs").display().to_string()),
                ("volumes", data.join("volumes").display().to_string()),
                ("heartbeat", HEARTBEAT.to_owned()),
            ]);
            if let Some(layout) = layout {
                settings.push(("images", layout.canonicalize()?.display().to_string()));
            }
            settings.extend(self.resolvers());
            if let Some(after) = self.options.sleep_after {
                settings.push(("sleep-after", format!("{}ms", after.as_millis())));
            }
            self.keep("cell", &format!("{cell}-{n}"), &settings)?;
        }
        Ok(machines)
    }

    /// How resolvers reach the world, as a cell is told.
    fn resolvers(&self) -> Vec<(&'static str, String)> {
        let Resolvers { egress_allow, authorities, artifact_hub, tekton_hub, .. } = &self.options.resolvers;
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join(","));
        let allowed = list(egress_allow.iter().map(ToString::to_string).collect());
        let authorities = list(authorities.iter().map(|file| file.display().to_string()).collect());
        let all = [
            ("egress-allow", allowed),
            ("resolver-ca", authorities),
            ("artifact-hub", artifact_hub.clone()),
            ("tekton-hub", tekton_hub.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Starts the replicas of the gateway; their ports.
    fn gateways(&mut self, keys: &Keys) -> Result<Vec<u16>> {
        let secrets = self.data.join("run").join("gateway-keys.json");
        keys::write(&secrets, &keys.gateway()?)?;
        let mut ports = Vec::new();
        for n in 1..=self.options.gateways {
            let port = free_port()?;
            let mut settings = self.common(&secrets);
            settings.push(("listen", format!("127.0.0.1:{port}")));
            settings.push(("tls", self.data.join("tls").display().to_string()));
            self.keep("gateway", &format!("gateway-{n}"), &settings)?;
            ports.push(port);
        }
        Ok(ports)
    }

    fn common(&self, secrets: &Path) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("secrets", secrets.display().to_string()),
            ("authority", self.data.join("tls/ca.pem").display().to_string()),
            ("store", self.shared.store.clone()),
            ("leave-with-stdin", "true".to_owned()),
        ];
        let StoreArguments { spanner_emulator, spanner_emulator_rest, .. } = self.shared;
        settings.extend(spanner_emulator.clone().map(|at| ("spanner-emulator", at)));
        settings.extend(spanner_emulator_rest.clone().map(|at| ("spanner-emulator-rest", at)));
        settings
    }

    /// Writes the settings of a server, starts it, and again whenever it has died.
    fn keep(&mut self, command: &'static str, name: &str, settings: &[(&str, String)]) -> Result<()> {
        let file = self.data.join("run").join(format!("{name}.toml"));
        let text: String = settings.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let (over, ended) = oneshot::channel();
        let server = Server {
            program: std::env::current_exe().context("cannot find this executable")?,
            command,
            name: name.to_owned(),
            file,
            log: self.options.log.clone(),
        };
        let (host, stopping, processes) = (self.host.clone(), self.stopping.clone(), self.processes.clone());
        self.host.spawn("server", async move {
            server.keep(&host, stopping, &processes).await;
            let _ = over.send(());
        });
        self.ended.push(ended);
        Ok(())
    }
}

/// A server process and how to start it.
struct Server {
    program: PathBuf,
    command: &'static str,
    name: String,
    file: PathBuf,
    log: String,
}

impl Server {
    async fn keep(self, host: &Host, mut stopping: watch::Receiver<bool>, processes: &Processes) {
        loop {
            let mut command = Command::new(&self.program);
            command.arg("--log").arg(&self.log).arg(self.command).arg("--config").arg(&self.file);
            // Ctrl-C in the terminal is for this process: it ends the others in order.
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
            let started = command.spawn();
            let pause = match started {
                Ok(mut child) => {
                    processes.set(&self.name, child.id());
                    // Waiting would close it, and the server ends with it.
                    let input = child.stdin.take();
                    match race(child.wait(), told(&mut stopping)).await {
                        Either::Left(ended) => {
                            let ended = ended.map(|status| status.to_string()).unwrap_or_default();
                            tracing::warn!(
                                server = self.name,
                                ended,
                                "a server has died; it is started again"
                            );
                        }
                        Either::Right(()) => {
                            drop(input);
                            if host.within(END_MAX, child.wait()).await.is_err() {
                                tracing::warn!(server = self.name, "a server does not end; it is killed");
                                drop(child.kill().await);
                            }
                            processes.set(&self.name, None);
                            return;
                        }
                    }
                    AGAIN
                }
                Err(error) => {
                    tracing::error!(server = self.name, %error, "a server cannot be started");
                    AGAIN * 10
                }
            };
            processes.set(&self.name, None);
            if let Either::Right(()) = race(host.clock.sleep(pause), told(&mut stopping)).await {
                return;
            }
        }
    }
}

/// Completes when everything shall end.
async fn told(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

impl Fleet {
    /// Ends servers, then machines.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for ended in self.ended {
            let _ = ended.await;
        }
        for machines in &self.machines {
            machines.leave().await;
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(Std::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn await_port(host: &Host, port: u16) -> Result<()> {
    let up = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            host.clock.sleep(Duration::from_millis(20)).await;
        }
    };
    host.within(UP_MAX, up).await.context("a gateway has not come up in time")
}
